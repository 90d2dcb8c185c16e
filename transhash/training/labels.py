"""The labels that training needs; checked without torch, which takes seconds to load."""

from ..errors import TrainingError
from ..sources import ImageList, Item
from ..system.files import display

_FEWEST = 4  # images needed to train without labels


def class_names(source: ImageList) -> tuple[str, ...]:
    """List the classes of a source, sorted. Raises TrainingError if its labels do not allow training."""
    if not source.images:
        raise TrainingError(f"{display(source.root)}: no images to train on")
    unlabelled = next((image for image in source.images if not image.labels), None)
    if unlabelled:
        raise TrainingError(
            f"'{display(unlabelled.path)}' has no label; put every image into a subfolder named after its class, "
            "list the images with their labels, or use th fit, which needs none"
        )
    names = [name for image in source.images for name in image.labels]
    classes = sorted(set(names))
    if len(classes) < 2 or len(names) == len(classes):
        raise TrainingError(
            f"{len(source.images)} images in {len(classes)} class{'es' * (len(classes) != 1)}; "
            "training needs two classes or more, with two images or more in one of them"
        )
    return tuple(classes)


def check_count(source: ImageList) -> None:
    """Raise TrainingError if there are too few images to train on without labels."""
    if len(source.images) < _FEWEST:
        raise TrainingError(
            f"{display(source.root)}: {len(source.images)} images; training for copies takes at least {_FEWEST}, "
            "and preferably thousands"
        )


def with_several(source: ImageList) -> Item | None:
    """Return the first image that has several classes, if there is one."""
    return next((image for image in source.images if len(set(image.labels)) > 1), None)
