"""Multi-view testing of encoders with a head.

    scorer = open_scorer("runs/motion")
    result = evaluate_views(scorer, Manifest.read("motion.jsonl"), split="val")
    print(result.top1.share, result.top1.low, result.top1.high, result.gflops)

Videos that cannot be read are listed with the reason: they are in no average, and none takes their place.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from longvid.decoders.cost import forward_cost
from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.training.data import worker_context
from longvid.pipelines.views.model import Scorer
from longvid.recognition.labels import class_numbers, refuse_misfit
from longvid.recognition.protocols import TEST_PROTOCOLS, PublishedViews, published_views
from longvid.recognition.scoring import Accuracy, VideoViews, class_accuracies, score_videos, top_accuracy
from longvid.recognition.views import Views
from longvid.tasks import Manifest, ManifestRow, Task, infer_task
from longvid.tasks.class_names import name_classes

OnVideo = Callable[[int, int], None]
"""Called with the number of videos done and of all videos."""
TOP = 5


@dataclass(frozen=True)
class ViewsResult:
    """What a multi-view test found."""

    JSON_PROPERTIES = ("not_read",)

    encoder: str
    weights: str
    weights_sha256: str
    manifest: str
    split: str
    protocol: str | None
    """Name of the protocol; None: views of one's own."""
    views: Views
    listed: int
    """Videos of the split with a label."""
    top1: Accuracy
    top5: Accuracy | None
    """None with fewer than six classes."""
    mean_class: float
    """Mean of the classes' accuracies, of those that have videos."""
    classes: dict[str, Accuracy]
    lost: tuple[tuple[str, str], ...]
    """Videos that could not be read, with the reason; they are in no average and are not replaced."""
    parameters: int
    gflops_per_view: float
    """Multiply-adds in billions."""
    gflops: float
    """The same over all views of a video, as the authors count."""
    published: tuple[PublishedViews, ...]
    """What was published for this encoder with this protocol; with views of one's own, with any."""
    seconds: float
    predictions: dict[str, list[tuple[str, float]]]
    """The best five classes of each video and their joined scores, by key."""
    notes: tuple[str, ...] = ()

    @property
    def not_read(self) -> int:
        """Number of lost videos."""
        return len(self.lost)

    @property
    def exit_status(self) -> int:
        """0, or 3 if a video could not be read."""
        return 3 if self.lost else 0


def evaluate_views(
    scorer: Scorer,
    manifest: Manifest,
    *,
    split: str = "test",
    views: Views | None = None,
    protocol: str | None = None,
    task: Task | None = None,
    device: torch.device | None = None,
    workers: int = 2,
    views_at_once: int = 4,
    dtype: torch.dtype | None = None,
    on_video: OnVideo | None = None,
) -> ViewsResult:
    """Score the videos of a split over all their views.

    views: None: one view in seconds, by the encoder's own sampling. protocol: the name under which they are published.
    task: None: the classes that the weights keep, else those of the manifest's labels, in their order.
    Raises before a video is opened: AnnotationError for labels that do not fit the head or a split without videos.
    """
    model, spec = scorer.model, scorer.model.encoder.spec
    views = views or Views.of(spec.sampling)
    rows = tuple(row for row in manifest.split(split) if row.label is not None)
    if not rows:
        counts = ", ".join(f"{count} in {name or 'none'}" for name, count in manifest.counts().items())
        raise AnnotationError(f"{manifest.name}: no video with a label has the split {split!r} ({counts})")
    notes = []
    if task is None:
        task, told = labels_task(manifest, scorer.classes, model.classes)
        notes += told
    refuse_misfit(task, model.classes, spec.weights)
    labels = np.asarray(class_numbers(rows, task))
    if views.frames != spec.sampling.frames:
        notes.append(f"clips of {views.frames} frames; {scorer.name} takes {spec.sampling.frames} by default")
    device = device or torch.device("cpu")
    began, index, scores, lost = time.perf_counter(), [], [], []
    clips = VideoViews(rows, views, spec.preprocessing)
    found = score_videos(
        model.to(device).eval(),
        clips,
        device=device,
        workers=workers,
        views_at_once=views_at_once,
        dtype=dtype,
        context=worker_context() if workers else None,
    )
    for done, (item, joined) in enumerate(found, 1):
        if joined is None:
            lost.append((rows[item["index"]].key, str(item["lost"])))
        else:
            index.append(item["index"])
            scores.append(joined.numpy())
        if on_video is not None:
            on_video(done, len(rows))
    if not scores:
        raise AnnotationError(f"{manifest.name}: none of the {len(rows)} videos can be read; the first: {lost[0][1]}")
    seconds = time.perf_counter() - began
    return _result(scorer, manifest, split, views, protocol, task, rows, labels, index, scores, lost, seconds, notes)


def labels_task(manifest: Manifest, names: Sequence[str], outputs: int) -> tuple[Task, list[str]]:
    """The classification that the labels are, and a note where the order of its classes is an assumption.

    names: the classes that the weights keep. Without them numbered labels are the head's own numbers, and names are
    taken in alphabetical order, which is how mmaction2's and X-ViT's lists of Kinetics-400 were numbered.
    """
    if names:
        return Task("labels", "classification", tuple(names)), []
    if all(row.label is None or isinstance(row.label, int) for row in manifest):
        return name_classes(Task("labels", "classification", outputs=outputs), manifest), []
    told = "the weights keep no class names: their classes are taken to be the labels in alphabetical order"
    return infer_task(manifest), [told]


def chosen_views(
    protocol: str | None,
    own: Views,
    *,
    clips: int | None = None,
    crops: int | None = None,
    join: str | None = None,
) -> tuple[Views, str | None]:
    """The views to test and the protocol's name, which is gone where an option changes one of its settings."""
    base = own if protocol is None else TEST_PROTOCOLS.get(protocol)
    if base is None:
        raise ConfigError(f"no test protocol {protocol!r}; there are {', '.join(TEST_PROTOCOLS)}")
    changes = {name: value for name, value in (("clips", clips), ("crops", crops), ("join", join)) if value is not None}
    views = replace(base, **changes)  # type: ignore[arg-type]
    return views, protocol if views == base else None


def _result(
    scorer: Scorer,
    manifest: Manifest,
    split: str,
    views: Views,
    protocol: str | None,
    task: Task,
    rows: Sequence[ManifestRow],
    labels: np.ndarray,
    index: list[int],
    scores: list[np.ndarray],
    lost: list[tuple[str, str]],
    seconds: float,
    notes: list[str],
) -> ViewsResult:
    spec, joined, truth = scorer.model.encoder.spec, np.stack(scores), labels[index]
    each = class_accuracies(joined, truth)
    size = (spec.preprocessing.height, spec.preprocessing.width)
    cost = forward_cost(scorer.model.cpu(), torch.zeros(1, 3, views.frames, *size))
    per_view = cost.operations / 2e9
    best = np.argsort(-joined, axis=1, kind="stable")[:, :TOP]
    return ViewsResult(
        encoder=scorer.name,
        weights=spec.weights,
        weights_sha256=spec.weights_sha256,
        manifest=manifest.name,
        split=split,
        protocol=protocol,
        views=views,
        listed=len(rows),
        top1=top_accuracy(joined, truth, 1),
        top5=top_accuracy(joined, truth, TOP) if joined.shape[1] > TOP else None,
        mean_class=math.fsum(one.share for one in each if one.total) / sum(one.total > 0 for one in each),
        classes={name: one for name, one in zip(task.classes, each, strict=True) if one.total},
        lost=tuple(lost),
        parameters=sum(weight.numel() for weight in scorer.model.parameters()),
        gflops_per_view=per_view,
        gflops=per_view * views.views,
        published=published_views(scorer.name, protocol=protocol),
        seconds=seconds,
        predictions={
            rows[place].key: [(task.classes[number], float(row[number])) for number in numbers]
            for place, numbers, row in zip(index, best.tolist(), joined, strict=True)
        },
        notes=tuple(notes),
    )
