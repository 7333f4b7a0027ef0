-- The catalogue, format 1. Changes to it are new files that alter what is here: append-only migrations.
-- Each `crc` is a CRC-32 over the row's other columns, see `database.COVERED`: how `verify` finds a changed byte.

CREATE TABLE sources (              -- what `index build` reads from and keeps in step with
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,  -- absolute path of the folder or manifest
    root     TEXT NOT NULL,         -- folder that `pictures.path` is relative to
    listed   INTEGER NOT NULL,      -- pictures that it listed when it was last read
    complete INTEGER NOT NULL,      -- 1 once all of them were indexed or skipped
    crc      INTEGER NOT NULL
) STRICT;

CREATE TABLE items (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again
    key       TEXT NOT NULL UNIQUE,
    label     TEXT,
    metadata  TEXT NOT NULL CHECK (json_valid(metadata)),
    source_id INTEGER REFERENCES sources (id),    -- null: came in by itself, with `add` or over HTTP
    version   INTEGER NOT NULL DEFAULT 1,         -- counts the item's changes
    crc       INTEGER NOT NULL
) STRICT;
CREATE INDEX items_by_source ON items (source_id);

CREATE TABLE pictures (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- row number in every generation's vectors.f32
    item_id      INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    content_hash TEXT NOT NULL,                      -- SHA-256 of the file
    path         TEXT,                               -- relative to the source's root; null: in originals/
    crc          INTEGER NOT NULL
) STRICT;
CREATE INDEX pictures_by_item ON pictures (item_id);

CREATE TABLE generations (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL UNIQUE,  -- of the folder below generations/
    model_id       TEXT NOT NULL,
    embedding_size INTEGER NOT NULL,
    recipe         TEXT NOT NULL,         -- of its snapshots
    active         INTEGER NOT NULL CHECK (active IN (0, 1)),
    activated      INTEGER,               -- change number of the last swap to it; null: still being encoded
    crc            INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_active_generation ON generations (active) WHERE active = 1;

CREATE TABLE vectors (              -- a row of vectors.f32 counts exactly if it is here
    generation_id INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    picture_id    INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    crc           INTEGER NOT NULL, -- CRC-32 of the row's bytes
    PRIMARY KEY (generation_id, picture_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX vectors_by_picture ON vectors (picture_id);

CREATE TABLE changes (              -- the ordered log: a reader replays what came after the number it knows
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL CHECK (kind IN ('add', 'remove', 'edit', 'seal', 'swap')),
    item_id    INTEGER,             -- of an add, a remove or an edit
    picture_id INTEGER,             -- of an add or a remove
    crc        INTEGER NOT NULL
) STRICT;

CREATE TABLE snapshots (            -- at most one a generation: the newest
    generation_id INTEGER PRIMARY KEY REFERENCES generations (id) ON DELETE CASCADE,
    change_number INTEGER NOT NULL, -- it holds exactly what lived after this change
    file          TEXT NOT NULL,    -- the FAISS index, in the generation's folder
    digest        TEXT NOT NULL,    -- SHA-256
    entries_file  TEXT NOT NULL,    -- which pictures each of its entries stands for
    entries_digest TEXT NOT NULL,   -- SHA-256
    recipe        TEXT NOT NULL,    -- the factory string it was built with
    entries       INTEGER NOT NULL, -- vectors, identical ones counted once
    pictures      INTEGER NOT NULL,
    recall        REAL NOT NULL,    -- recall@10 against exact search, measured when it was sealed
    crc           INTEGER NOT NULL
) STRICT;
