"""What an audit says about copies, in words."""

from longvid.pipelines.auditing.audit import Cleanness
from longvid.pipelines.auditing.duplicates import Copies


def title_of(copies: Copies) -> str:
    """`Test videos that occur in train`."""
    if copies.split == copies.other_split:
        return f"Copies within {copies.split}"
    return f"{copies.split.capitalize()} videos that occur in {copies.other_split}"


def clean_in_words(found: Cleanness) -> list[str]:
    """A sentence per comparison, and what ids and groups show."""
    said = []
    if found.threshold is None and not found.copies:
        said.append("Copies were not looked for: all videos have one label and no group, so none are known to differ.")
    for copies in found.copies:
        where = f"within {copies.split}" if copies.split == copies.other_split else f"in {copies.other_split}"
        if not copies.matches:
            said.append(f"No {copies.split} video has a copy {where}.")
            continue
        count, pairs = len(copies.keys), len(copies.matches)
        said.append(
            f"{count} of {copies.num_videos} {copies.split} videos {'has' if count == 1 else 'have'} a copy {where} "
            f"({pairs} {'pair' if pairs == 1 else 'pairs'})."
        )
    return [*said, *(found.by_name or ("The manifest's ids and groups show no leak.",))]
