"""Which files of a source are images, and which are masks or fields of view that lie beside them, by their names.

A name alone is never enough: what calls itself a mask needs an image that it belongs to. What is left over and looks
like a mask by its content is refused (`unlike`), so that no mask becomes an image of its own.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import pandas as pd

from medlab.intake import drafts, label_maps

SUFFIXES = (*(p for p in drafts.PICTURES if p != ".dcm"), *drafts.NIFTI, ".gif")
IMAGES = ("image", "images", "img", "imgs", "imagestr", "imagests", "original", "originals")
MASKS = ("mask", "masks", "label", "labels", "labelstr", "labelsts", "1st_manual", "manual", "manual1", "gt",
         "groundtruth", "ground_truth", "ground truth", "segmentation", "segmentations", "seg", "annotation",
         "annotations")
VALID = ("fov", "field_of_view", "fov_mask", "fov_masks")
MASK = ("masks?|msk|[adfp]?seg|segm|segmentations?|labels?|labelmap|gt|ground[-_ ]?truth|anno|annotations?|lesion|roi|"
        "contour|delineation")
DRAWN = r"(?P<base>.+?)[-_. ]+(?:superpixels?|overlays?|overlaid|heatmaps?|annotated|thumb(?:nail)?s?|previews?)"
FIELD = "fov(?:[-_ ]masks?)?|field[-_ ]of[-_ ]view"
READER = (r"(?:1st|2nd|3rd|first|second|third)[-_ ]?(?:ho|manual|observer|reader|expert|rater)|"
          r"(?:manual|reader|rater|annotator|observer|expert)[-_ ]?(?:\d|[ab])")
FORMS = [re.compile(p) for p in (
    rf"(?P<base>.+?)[-_. ]+(?:(?P<reader>{READER})|(?P<valid>{FIELD})|(?:{MASK}))(?:[-_. ]*(?:{MASK}))?"
    r"(?:[-_. ]?\(?\d+\)?)?",
    rf"(?:(?P<reader>{READER})|(?P<valid>{FIELD})|(?:{MASK}))[-_. ]+(?P<base>.+)",
    rf"(?P<base>)(?:(?P<reader>{READER})|(?P<valid>{FIELD})|(?:{MASK}))(?:[-_. ]?\d+)?")]
NOUNS = r"^(volume|image|img|scan|ct|mri|picture|photo)[-_. ]+|[-_. ]+(image|img|scan|volume|dermoscopic_image)$"
SEQUENCES = ("t1|t1w|t1c|t1ce|t1gd|t1n|t1post|t1pre|t2|t2w|t2f|t2star|flair|dwi|adc|swi|pd|pdw|pwi|cbf|cbv|mtt|tmax|"
             "ct|ncct|cta|pet|suv|hbv")
CHANNEL = re.compile(rf"(?P<base>.+?)[-_. ](?P<channel>{SEQUENCES}|\d{{4}})")


@dataclass
class Mark:
    """What a file says that lies beside an image: the image (a key of its case), its role and its reader."""

    image: str
    role: str
    reader: str


def stem(file: str) -> str:
    """Name of a file without folders and suffix, small letters.

    Examples
    --------
    >>> stem("a/Case_01.nii.gz")
    'case_01'
    """
    return re.sub(r"(\.nii)?\.[^.]+$", "", file.split("/")[-1]).lower()


def says(name: str) -> tuple[str, str, str] | None:
    """(image, role, reader) of a stem that calls itself a mask or field of view; None for any other.

    Examples
    --------
    >>> says("benign (1)_mask_1"), says("image_01l_2ndho"), says("mask_7"), says("scan_7")
    (('benign (1)', 'mask', ''), ('image_01l', 'mask', '2ndho'), ('7', 'mask', ''), None)
    """
    found = next((m for form in FORMS if (m := form.fullmatch(name))), None)
    if not found:
        return None
    return found["base"], "valid" if found["valid"] else "mask", found["reader"] or ""


def marks(files) -> dict:
    """Masks and fields of view among picture files: {file: `Mark`}; each belongs to a file (or case) by its name.

    The image lies in the same folder, or is the only one of its name elsewhere; in a folder called masks (see
    `MASKS`) the mask may bear the very name of its image. A file called ``segmentation`` belongs to the only case of
    its folder. Of cases of several sequences (``X_t1``, ``X_flair``) the mask is called ``X_seg``.
    """
    pictures = [f for f in files if f.lower().endswith(SUFFIXES)]
    said = {f: s for f in pictures if (s := says(stem(f)) or _in_folder(f))}
    cases, anywhere = defaultdict(set), defaultdict(set)
    for file in pictures:
        if file in said and says(stem(file)) is None:
            continue
        folder, name = file.rpartition("/")[0], stem(file)
        channel = CHANNEL.fullmatch(name)
        for key in {name, re.sub(NOUNS, "", name), *([channel["base"]] if channel else [])}:
            cases[(folder, key)].add(file)
            anywhere[key].add(file)
    found, taken = {}, set(said)
    for file, (base, role, reader) in said.items():
        folder = file.rpartition("/")[0]
        near = _others(cases[(folder, base)] or cases[(folder, re.sub(NOUNS, "", base))], file, taken)
        if not base:
            near = {f for f in pictures if f.rpartition("/")[0] == folder} - taken
            near = near if len({case(f) for f in near}) == 1 else set()
        near = near or _others(anywhere[base], file, taken)
        if near and len({(f.rpartition("/")[0], case(f)) for f in near}) == 1:
            found[file] = Mark(min(near), role, reader)
    return found


def without_drawings(draft, files) -> list:
    """Files without pictures that are drawn from another of their folder (``X_overlay.png`` beside ``X.png``)."""
    there, kept = defaultdict(set), []
    for file in files:
        there[file.rpartition("/")[0]].add(stem(file))
    for file in files:
        found = re.fullmatch(DRAWN, stem(file))
        if found and found["base"] in there[file.rpartition("/")[0]]:
            draft.say(file, "refused", "drawn from the image whose name it bears")
        else:
            kept.append(file)
    return kept


def _others(candidates, file, taken):
    return {f for f in candidates if f != file and f not in taken}


def _in_folder(file):
    """A file of a folder called masks (or fov) bears the name of its image."""
    folders = [f.lower() for f in file.split("/")[:-1]]
    role = "valid" if any(f in VALID for f in folders) else "mask" if any(f in MASKS for f in folders) else None
    return (stem(file), role, "") if role else None


def case(file: str) -> str:
    """Stem of a file without the name of a sequence at its end."""
    channel = CHANNEL.fullmatch(stem(file))
    return channel["base"] if channel and not channel["channel"].isdigit() else stem(file)


def of_readers(draft, files, readers) -> list:
    """Masks of the first reader; those of others are logged.

    Parameters
    ----------
    files : list of str
        All masks of one image.
    readers : dict
        {file: reader}, "" where none is named.
    """
    first = min({readers[f] for f in files})
    for file in files:
        if readers[file] != first:
            said = re.search(re.escape(readers[file]), file, re.I)[0]
            draft.say(file, "refused", f"mask of another reader ({said}); {first or 'the first'} is taken: --kind "
                      f"folders --mask '{{stem}}_{said}{re.search(r'([.]nii)?[.][^.]+$', file)[0]}' takes it")
    return [f for f in files if readers[f] == first]


def attach(draft, rows, found) -> list:
    """Rows of images alone, with ``mask_source``, ``_instances`` (all its masks) and ``valid_source``.

    Parameters
    ----------
    rows : list of dict
        One a picture file, masks among them.
    found : dict
        Of `marks`.
    """
    by_case = defaultdict(list)
    for file, mark in found.items():
        by_case[(mark.image.rpartition("/")[0], case(mark.image), mark.role)].append(file)
    readers, own = {f: m.reader for f, m in found.items()}, draft.options
    masks = {} if own.get("mask") else {k: of_readers(draft, v, readers) for k, v in by_case.items() if k[2] == "mask"}
    kept = _without_orphans(draft, [row for row in rows if row["source"] not in found], found)
    for row in kept:
        key = (row["source"].rpartition("/")[0], case(row["source"]))
        if masks.get((*key, "mask")):
            row |= {"mask_source": masks[(*key, "mask")][0], "_instances": masks[(*key, "mask")]}
        if by_case.get((*key, "valid")) and not own.get("valid"):
            row["valid_source"] = by_case[(*key, "valid")][0]
    single_instances(kept)
    return kept


def _without_orphans(draft, rows, found):
    """Rows without masks whose image is not there: named or placed as those are that have one."""
    named = {f for f in found if says(stem(f))}
    folders = {f.rpartition("/")[0] for f in found if f not in named}
    kept = []
    for row in rows:
        file = row["source"]
        if named and says(stem(file)) or file.rpartition("/")[0] in folders:
            draft.say(file, "unmatched", "a mask without an image of its name")
        else:
            kept.append(row)
    return kept


def single_instances(rows) -> None:
    """Where no image has several masks they are no instances of their own."""
    if all(len(r.get("_instances", ())) < 2 for r in rows):
        for row in rows:
            row.pop("_instances", None)


def trusted(draft, found) -> dict:
    """Of `marks` those whose folder is called masks only because a class is: their files must look like masks."""
    unsure = [f for f in found if says(stem(f)) is None]
    if not unsure:
        return found
    some = unsure[:: max(1, len(unsure) // 5)][:5]
    return found if any(label_maps.is_mask(f, draft.source) for f in some) else {
        f: m for f, m in found.items() if f not in unsure}


def boxes(draft, cohort) -> pd.DataFrame | None:
    """boxes.csv from images with a mask for each lesion; None where there are none."""
    if "_boxes" not in cohort:
        return None
    rows = [{"image": image, "label": "lesion", **box} for image, found in zip(cohort["image"], cohort["_boxes"],
            strict=True) if isinstance(found, list) for box in found]
    draft.understand("boxes", f"{len(rows)}, one around each mask, called lesion")
    return pd.DataFrame(rows)


def unlike(draft, cohort) -> None:
    """Refuse images that look like masks: two values only, and the name and size of another image; or called masks.

    Parameters
    ----------
    cohort : DataFrame
        Of `taking.take`, with ``_source``, ``_two`` (only two values), ``_few`` (few numbers) and ``_shape``.

    Raises
    ------
    ValueError
        Naming the first of them.
    """
    two, few = (cohort.get(c, pd.Series(False, cohort.index)).fillna(False).astype(bool) for c in ("_two", "_few"))
    called = [f for f in cohort.loc[few, "_source"] if says(stem(f)) or _in_folder(f)]
    if called and not few.all():
        raise ValueError(f"{draft.source.name}: {len(called)} files are called masks and hold few numbers, but belong "
                         f"to no image, such as {called[0]}. Say which mask an image has with --mask, a template "
                         "such as '{folder}/aggregated_seg.nii.gz', and which files are images with --patient-pattern, "
                         "such as '(?P<patient_id>[^/]+)/imaging'")
    if two.all() or not two.any():
        return
    others, pairs = defaultdict(list), []
    for file, shape in cohort.loc[~two, ["_source", "_shape"]].itertuples(index=False):
        others[(shape, re.sub(NOUNS, "", stem(file)))].append(file)
    for file, shape in cohort.loc[two, ["_source", "_shape"]].itertuples(index=False):
        parts = re.split(r"(?<=[^-_. ])(?=[-_. ])", stem(file))
        tries = ["".join(parts[:n]) for n in range(len(parts), 0, -1)] + [
            "".join(parts[n:]).lstrip("-_. ") for n in range(1, len(parts))]
        image = next((others[(shape, t)][0] for t in tries if others.get((shape, t))), None)
        pairs += [(file, image)] if image else []
    if pairs:
        file, image = pairs[0]
        folder = file.rpartition("/")[0].split("/")[-1]
        raise ValueError(f"{draft.source.name}: {len(pairs)} files hold two values only and bear the name of another "
                         f"image, such as {file} beside {image}: masks, it seems. Say where masks are with --mask, a "
                         f"template such as '{{folder}}/{{stem}}_mask.png' or a folder such as {folder or 'masks'}")


def tell(draft, kind, cohort) -> None:
    """Say how the files were read: their roles, classes, parts of the source and patients."""
    masks = int(cohort["mask"].notna().sum()) if "mask" in cohort else 0
    fields = int(cohort["valid_mask"].notna().sum()) if "valid_mask" in cohort else 0
    left = Counter(e["reason"].split(";")[0].split(":")[0] for e in draft.log if e["status"] == "refused")
    roles = [f"{len(cohort)} images"] + [f"{masks} of them with a mask"] * bool(masks)
    roles += [f"{fields} with a field of view"] * bool(fields)
    roles += [f"{sum(left.values())} files left out ({', '.join(f'{n} {r}' for r, n in left.most_common(3))})"] * bool(
        left)
    draft.understood.insert(0, {"what": "files", "read_as": ", ".join(roles)})
    draft.understood.insert(0, {"what": "kind", "read_as": kind})
    for column, what, why in (("label", "classes", "_class_rule"), ("split", "parts", "_split_rule")):
        if column in cohort and cohort[column].notna().any():
            counts = cohort[column].astype("string").fillna("without").value_counts().sort_index()
            shown = ", ".join(f"{n} ({k})" for n, k in counts.head(12).items())
            rule = draft.options.get(why, "")
            draft.understand(what, shown + (f" and {len(counts) - 12} more" if len(counts) > 12 else "")
                             + (f", {rule}" if rule else ""))
    o = draft.options
    rules = [o.get("_patient_rule"), o.get("patient_pattern") and "by --patient-pattern",
             o.get("blocks") and f"--blocks {o['blocks']}", o.get("tables") and "from the table", "as the source says"]
    rule = next(r for r in rules if r)
    draft.understand("patients", f"{cohort['patient_id'].nunique()}, {rule}" if "patient_id" in cohort else
                     "not named: each image counts by itself")
    told = "patient_id" in cohort or draft.options.get("patient_pattern") or draft.options.get("patient_level")
    if found := None if told else groups([stem(f) for f in cohort["_source"]]):
        draft.ask(f"names of images seem to hold patients: {found[0]} groups by this pattern, none is taken",
                  f"--patient-pattern '{found[1]}' or --patient-level none")


def groups(stems) -> tuple[int, str] | None:
    """Groups in names such as ``ID_01``, ``ID_02``: (how many, the pattern that finds them), if there is one reading.

    Every name is an id with a digit in it, a separator and a number or a numbered word; at least 5 ids, twice as many
    names.

    Examples
    --------
    >>> groups([f"patient{p}_slice{s}" for p in range(6) for s in range(3)])[0]
    6
    """
    form = re.compile(r"(?P<id>.*\d.*?)(?P<tail>[-_. ]+[A-Za-z]*[-_]?\d{1,4})$")
    found = [form.fullmatch(s) for s in stems]
    if not found or not all(found):
        return None
    ids = Counter(m["id"] for m in found)
    if len(ids) < 5 or len(found) < 2 * len(ids) or len({re.sub(r"\d+", "#", m["tail"]) for m in found}) > 1:
        return None
    return len(ids), r"(?P<patient_id>[^/]*\d[^/]*?)[-_. ]+[A-Za-z]*[-_]?\d{1,4}\.[^/]+$"
