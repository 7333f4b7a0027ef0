-- The catalogue, format 1. Changes to it are new files that alter what is here: append-only migrations.

CREATE TABLE sources (              -- where items were read from
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,  -- absolute path of the folder or manifest
    root     TEXT NOT NULL,         -- folder that `pictures.path` is relative to
    listed   INTEGER NOT NULL,      -- pictures that it listed when it was last read
    complete INTEGER NOT NULL       -- 1 once all of them were indexed or skipped
) STRICT;

CREATE TABLE items (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again
    key       TEXT NOT NULL UNIQUE,
    label     TEXT,
    metadata  TEXT NOT NULL CHECK (json_valid(metadata)),
    source_id INTEGER REFERENCES sources (id)     -- null: came in by itself, over HTTP
) STRICT;

CREATE TABLE pictures (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- row number in every generation's vectors.f32
    item_id      INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    content_hash TEXT NOT NULL,                      -- SHA-256 of the file
    path         TEXT                                -- relative to the source's root; null: in originals/
) STRICT;
CREATE INDEX pictures_by_item ON pictures (item_id);

CREATE TABLE generations (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL UNIQUE,  -- of the folder below generations/
    model_id       TEXT NOT NULL,
    embedding_size INTEGER NOT NULL,
    active         INTEGER NOT NULL CHECK (active IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX one_active_generation ON generations (active) WHERE active = 1;

CREATE TABLE vectors (              -- a row of vectors.f32 counts exactly if it is here
    generation_id INTEGER NOT NULL REFERENCES generations (id),
    picture_id    INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    crc           INTEGER NOT NULL, -- CRC-32 of the row's bytes
    PRIMARY KEY (generation_id, picture_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (              -- the ordered log: a reader replays what came after the number it knows
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL CHECK (kind IN ('add', 'remove', 'seal', 'swap')),
    picture_id INTEGER,             -- of an add or a remove
    CHECK ((picture_id IS NULL) = (kind IN ('seal', 'swap')))
) STRICT;

CREATE TABLE snapshots (            -- at most one a generation: the newest
    generation_id INTEGER PRIMARY KEY REFERENCES generations (id),
    change_number INTEGER NOT NULL, -- it holds exactly what lived after this change
    file          TEXT NOT NULL,    -- in the generation's folder
    digest        TEXT NOT NULL,    -- SHA-256
    recipe        TEXT NOT NULL,    -- how FAISS built it
    entries       INTEGER NOT NULL,
    recall        REAL NOT NULL     -- recall@10 against exact search, measured when it was sealed
) STRICT;
