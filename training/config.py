"""A training configuration: one frozen dataclass a section, each field with its unit, its range and its meaning.

What may change here: new fields, with a default that keeps older files' meaning. Reading YAML is `config_reading`'s
business; nothing here imports torch, so that a configuration can be checked where it is not installed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from training.loss_config import LossConfig

Side = Annotated[int, Field(ge=16, le=4096)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


@dataclass(frozen=True)
class DataConfig:
    """Which pictures to learn from, and which classes to keep out."""

    name: Annotated[
        Literal["cub", "cars", "sop", "inshop", "grocery", "folder", "manifest"],
        Field(
            description="a benchmark's; `folder`: a folder a class; `manifest`: CSV, JSONL or Parquet, path and label"
        ),
    ]
    root: Annotated[
        str, Field(min_length=1, description="its folder, or the manifest; relative to the working directory")
    ]
    holdout: Annotated[
        Fraction, Field(description="fraction of the training classes kept out whole, for validation")
    ] = 0.0
    holdout_seed: Annotated[int, Field(ge=0, description="which classes those are")] = 0
    cache_gib: Annotated[
        float, Field(ge=0.0, description="GiB of memory for decoded pictures; those beyond are decoded again")
    ] = 4.0


@dataclass(frozen=True)
class ModelConfig:
    """The encoder and its classifier."""

    backbone: Annotated[str, Field(description="efficientnet_lite0, _lite1, _lite2, or any name that timm knows")] = (
        "efficientnet_lite0"
    )
    weights: Annotated[
        str, Field(description="`pretrained`, `none`, a weights file, or a bundle with weights.safetensors")
    ] = "pretrained"
    pooling: Annotated[
        Literal["average", "max", "generalised_mean", "native"],
        Field(description="of a CNN's feature map; `native`: the backbone's own head, for transformers"),
    ] = "average"
    pooling_exponent: Annotated[
        float, Field(ge=1.0, description="of generalised_mean, at the start; it is trained with the rest")
    ] = 3.0
    projection: Annotated[
        int | None, Field(ge=1, description="size of a linear layer after the pooling; null: none")
    ] = None
    feature_norm: Annotated[
        Literal["none", "layer", "batch", "neck"],
        Field(description="after it comes the embedding; `layer`, `batch`: no affine; `neck`: BatchNorm, scale alone"),
    ] = "none"
    dropout: Annotated[Fraction, Field(description="probability, on the classifier's path only")] = 0.5
    freeze_batch_norm: Annotated[
        bool, Field(description="keep BatchNorm2d's statistics; its affine weights train all the same")
    ] = True
    last_stride: Annotated[
        Literal[1, 2],
        Field(description="of a ResNet or EfficientNet; 1: its feature map is twice as wide and high, and costs more"),
    ] = 2
    pretrained_share: Annotated[
        Fraction,
        Field(description="share of the starting weights in the exported ones: start * share + trained * (1 - share)"),
    ] = 0.0

    def __post_init__(self) -> None:
        """Refuse shares that have no meaning."""
        if self.pretrained_share and self.weights == "none":
            raise ValueError(
                "pretrained_share needs weights to share: say model.pretrained_share=0, or set model.weights"
            )
        if self.pretrained_share and self.feature_norm in ("batch", "neck"):
            raise ValueError(
                f"pretrained_share needs feature_norm none or layer, found {self.feature_norm}, whose statistics are "
                "the trained model's: say model.pretrained_share=0"
            )


@dataclass(frozen=True)
class OptimiserConfig:
    """How weights follow gradients; no weight decay on one-dimensional parameters."""

    name: Annotated[Literal["sgd", "adamw"], Field(description="stochastic gradient descent, or AdamW")] = "sgd"
    learning_rate: Annotated[float, Field(gt=0.0, description="at the top of the schedule")] = 0.01
    momentum: Annotated[Fraction | None, Field(description="sgd: 0 is none; null: 0.9")] = None
    nesterov: Annotated[bool | None, Field(description="sgd: Nesterov's momentum; null: yes")] = None
    betas: Annotated[
        tuple[Fraction, Fraction] | None, Field(description="adamw: decays of its two moments; null: 0.9 and 0.999")
    ] = None
    weight_decay: Annotated[float, Field(ge=0.0, description="on parameters of two and more dimensions")] = 5e-4
    classifier_rate: Annotated[
        float, Field(gt=0.0, description="factor of the learning rate for the loss's own weights: classifier, proxies")
    ] = 1.0
    clip_norm: Annotated[
        float | None, Field(gt=0.0, description="a step's gradient is shortened to this length; null: never")
    ] = None

    def __post_init__(self) -> None:
        """Refuse what the optimiser does not take, and fill in its defaults."""
        defaults: dict[str, dict[str, Any]] = {
            "sgd": {"momentum": 0.9, "nesterov": True},
            "adamw": {"betas": (0.9, 0.999)},
        }
        own = defaults[self.name]
        for key in ("momentum", "nesterov", "betas"):
            if key not in own and getattr(self, key) is not None:
                raise ValueError(
                    f"{self.name} takes no optimiser.{key}; it takes {', '.join(own)}: say optimiser.{key}=null"
                )
            if key in own and getattr(self, key) is None:
                object.__setattr__(self, key, own[key])
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0: say optimiser.nesterov=false")


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate per iteration i of T: min((i + 1) / warmup, (1 + cos(pi i / T)) / 2)."""

    warmup: Annotated[int, Field(ge=1, description="iterations")] = 100
    warmup_share: Annotated[
        float, Field(gt=0.0, le=1.0, description="the warm-up is at most this share of the run's iterations")
    ] = 0.25


@dataclass(frozen=True)
class AugmentationConfig:
    """How a training picture becomes an input: resize, colour jitter, random crop, flip; in this order."""

    input_size: Annotated[Side, Field(description="pixels of a side of the training crop")] = 224
    resize: Annotated[
        Side | None, Field(description="pixels, before the crop; null: input_size over the backbone's crop share")
    ] = None
    resize_mode: Annotated[
        Literal["shorter_side", "squash"],
        Field(description="`shorter_side`: it becomes `resize`; `squash`: both do"),
    ] = "shorter_side"
    crop_area: Annotated[
        tuple[float, float], Field(description="least and largest share of the picture's area in the crop")
    ] = (0.16, 1.0)
    crop_aspect: Annotated[tuple[float, float], Field(description="least and largest width / height of the crop")] = (
        0.75,
        4 / 3,
    )
    jitter: Annotated[
        tuple[float, float, float, float],
        Field(description="brightness, contrast, saturation: factors 1 - j to 1 + j; hue: turns -j to j"),
    ] = (0.25, 0.25, 0.25, 0.0)
    flip: Annotated[float, Field(ge=0.0, le=1.0, description="probability of a mirrored picture")] = 0.5

    def __post_init__(self) -> None:
        """Check the ranges that pydantic's field limits can not say."""
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area must be two rising shares above 0 and at most 1, found {self.crop_area}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise ValueError(f"crop_aspect must be two rising positive numbers, found {self.crop_aspect}")
        if min(self.jitter) < 0 or max(self.jitter[:3]) > 1 or self.jitter[3] > 0.5:
            raise ValueError(f"jitter must be in 0..1, and its hue in 0..0.5, found {self.jitter}")


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    epochs: Annotated[int, Field(ge=1, description="passes over the pictures")] = 30
    batch_size: Annotated[
        int, Field(ge=2, description="pictures of all processes together; a last, smaller batch is dropped")
    ] = 128
    accumulate: Annotated[int, Field(ge=1, description="batches a step, their gradients averaged")] = 1
    sampler: Annotated[
        Literal["shuffle", "m_per_class"],
        Field(
            description="`shuffle`: every picture once an epoch; `m_per_class`: `per_class` of each class in a batch"
        ),
    ] = "shuffle"
    per_class: Annotated[int, Field(ge=1, description="m_per_class: pictures of a class in a batch")] = 4
    seed: Annotated[int, Field(ge=0, description="of the classifier's path, order and augmentation")] = 0
    ema: Annotated[
        Fraction, Field(description="decay a step of the moving average of the weights, which is exported; 0: none")
    ] = 0.0
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(description="autocast to it; weights stay float32, and float16 scales the loss"),
    ] = "float32"
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="`auto`: a GPU where there is one")] = "auto"
    loader_threads: Annotated[int, Field(ge=1, description="threads that augment pictures ahead")] = 2
    checkpoint_every: Annotated[int, Field(ge=0, description="steps between checkpoints within an epoch; 0: none")] = 0
    tensorboard: Annotated[bool, Field(description="write RUN/tensorboard too; needs the extra `tensorboard`")] = False

    def __post_init__(self) -> None:
        """A batch is so many whole classes."""
        if self.sampler == "m_per_class" and self.batch_size % self.per_class:
            raise ValueError(f"per_class must divide batch_size ({self.batch_size}); it is {self.per_class}")


@dataclass(frozen=True)
class EvaluationConfig:
    """How the model sees pictures once trained, and how often the held-out classes are looked at."""

    input_size: Annotated[
        Side | None, Field(description="pixels of a side in test and in the bundle; null: augmentation.input_size")
    ] = None
    resize: Annotated[
        Side | None, Field(description="pixels, before the centre crop; null: input_size over the crop share")
    ] = None
    every: Annotated[int, Field(ge=1, description="epochs between looks at the held-out classes")] = 1
    seen: Annotated[
        bool, Field(description="measure as many classes that were trained on beside the held-out or test classes")
    ] = True
    test: Annotated[
        bool, Field(description="at the end, evaluate the exported bundle once on the data set's own test classes")
    ] = False


@dataclass(frozen=True)
class CalibrationConfig:
    """How scores become probabilities: by the held-out classes or, where none are held out, by folds."""

    folds: Annotated[
        int,
        Field(ge=0, description="0: none; K: K more trainings, each without a K-th of the classes; needs holdout 0"),
    ] = 0
    prior: Annotated[
        float, Field(gt=0.0, le=1.0, description="share of future queries whose class is in the gallery")
    ] = 0.5

    def __post_init__(self) -> None:
        """One fold would leave nothing to train on."""
        if self.folds == 1:
            raise ValueError("folds must be 0, or 2 and more, found 1")


@dataclass(frozen=True)
class Config:
    """The whole configuration, a field a section."""

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)

    def as_dict(self) -> dict[str, Any]:
        """Nested dictionaries of plain values, as they go into checkpoints and manifests."""
        return asdict(self)
