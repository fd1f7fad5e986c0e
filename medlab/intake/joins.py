"""Tables of outcomes joined to images: templates of file names, targets, covariates, what has no partner.

The text of a table is never opened as a path: what a template gives is looked up among the files that are there.
"""

import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.cohorts import identifiers, moments, twins
from medlab.intake import dates, nameless, orientation, roles, row_filter, tables, taking
from medlab.intake.drafts import OTHERS, SPLIT_NAMES, card, finish, listing, mapping, words
from medlab.intake.outcomes import follow_up


def fill(template: str, row: dict) -> str:
    """Put the values of a table row into ``{column}`` or ``{column:03d}``; only names, no attribute access.

    Examples
    --------
    >>> fill("{site}/patient_{id:03d}.nii.gz", {"site": "north", "id": 7.0})
    'north/patient_007.nii.gz'
    """
    def value(match):
        if match[1] not in row:
            raise ValueError(f"template {template!r}: no column {match[1]!r}; found {', '.join(map(str, row))}")
        cell = row[match[1]]
        if match[2]:
            try:
                return format(int(float(cell)) if match[2].endswith("d") else cell, match[2])
            except (ValueError, OverflowError):
                raise ValueError(f"template {template!r}: {cell!r} of column {match[1]!r} does not fit "
                                 f"{match[0]!r}; expected a number for :03d, or the column alone") from None
        return tables.canonical(cell)

    return re.sub(r"\{([^{}:]+)(?::([^{}]*))?\}", value, template)


def there_as(listed, wanted: str) -> str | None:
    """How a listing of files spells a name, with ``::member``; accents may be composed in one and not in the other."""
    name, separator, member = wanted.partition("::")
    if name not in listed and not name.isascii():
        name = next((n for n in (unicodedata.normalize(f, name) for f in ("NFC", "NFD")) if n in listed), name)
    return name + separator + member if name in listed else None


def beside(draft, row: dict, listed, missing: list) -> dict:
    """Mask and field of view by the templates ``--mask`` and ``--valid``, looked up in the listing.

    What is not there is appended to ``missing`` as entries of the log.
    """
    found = {}
    for option, key, name in (("mask", "mask_source", "mask"), ("valid", "valid_source", "field of view")):
        template = draft.options.get(option)
        wanted = fill(str(template), row) if template else None
        there = wanted and there_as(listed, wanted)
        if there:
            found[key] = there
        elif wanted:
            missing.append((wanted, "unmatched", f"no such {name}; image taken without"))
    return found


def outcomes(draft, once=None, raw=True) -> pd.DataFrame | None:
    """The joined tables of outcomes with ``_key`` and coded targets; rows that cannot be used are refused.

    Parameters
    ----------
    once : str, optional
        Column that names each row once (`row_filter.once`).
    raw : bool
        With a column ``_raw``, each row as a dictionary for `fill`.
    """
    o = draft.options
    if not o.get("tables"):
        alone = next((k for k in ("where", "on_duplicate") if o.get(k) is not None), None)
        if alone:
            raise ValueError(f"--{alone.replace('_', '-')} chooses rows of a table: say which with --tables")
        return None
    names = o["tables"] if isinstance(o["tables"], list) else str(o["tables"]).split(",")
    found = {}
    for name in (n.strip() for n in names):
        path = next((p for p in (draft.source / name, Path(name)) if p.is_file()), None)
        if path is None:
            raise ValueError(f"table {name!r}: no such file in {draft.source} or here")
        found[path.name] = roles.read(draft, path)
    if not o.get("key") and len(found) > 1:
        raise ValueError("several tables: say the column that joins them with --key COLUMN")
    late = len(found) > 1 and o.get("where") is not None  # a condition may name columns of several tables
    if not late:
        found = {n: row_filter.chosen(draft, table, once, n) for n, table in found.items()}
    readings = roles.collect(draft, found)
    if o.get("key"):
        table, unmatched = tables.join(found, str(o["key"]))
        if table.attrs.pop("zeros", 0):
            draft.understand(f"key {o['key']}", "some keys fit only without their leading zeros, left out in all")
        for name, key, reason in unmatched:
            draft.say(name if o.get("_hide") else f"{name}, {o['key']} {draft.who(key)}", "unmatched", reason)
    else:
        table = next(iter(found.values()))
    _seek_patient(draft, table)
    return _code(draft, row_filter.chosen(draft, table, once, "the joined tables") if late else table, readings, raw)


PERSON = r"(patient|subject|person|participant|pat|subj)[-_ .]?(id|no|nr|number|key|code|identifier)?"
GROUP = r"(lesion|nodule|eye|exam|study|case|slide|specimen)[-_ .]?(id|no|nr|number|key)"


def _seek_patient(draft, table):
    """Where the key names images, the column that names their patients: taken if it says so, asked if it may."""
    key = draft.options.get("key")
    if not draft.options.get("_seek") or key not in table or not table[key].is_unique:
        return
    for form in (PERSON, GROUP):
        found = [c for c in table if c != key and re.fullmatch(form, str(c).strip(), re.I)
                 and table[c].notna().all() and table[c].nunique() < len(table)]
        if found and form == PERSON:
            draft.options["_patient"] = found[0]
            draft.options["_patient_rule"] = f"from the column {found[0]} (--patient names another)"
            return
        if found:
            draft.ask(f"column {found[0]} groups {len(table)} rows into {table[found[0]].nunique()}: each row is taken "
                      "as a patient of its own", f"--patient {found[0]} or --patient {key}")


def _code(draft, table, readings, raw):
    o, refused = draft.options, {}
    used = {o[k] for k in ("key", "_patient") if o.get(k)}
    coded = pd.DataFrame(index=table.index)
    if any(o.get(k) is not None for k in ("time", "start", "end", "event")):
        coded, refused, columns = follow_up(draft, table)
        used |= columns
    for option, column in (("label", "label"), ("split", "split"), ("cause", "event_cause")):
        if o.get(option) is not None:
            coded[column] = tables.canonical_keys(table[tables.find_column(table, o[option])])
            used.add(o[option])
    if "split" in coded:
        coded["split"] = coded["split"].map(lambda v: SPLIT_NAMES.get(str(v).strip().lower(), v), na_action="ignore")
    for i, reason in refused.items():
        draft.say(row_filter.name_of(draft, table, i), "refused", reason)
    if len(refused) == len(table):
        reasons = ", ".join(f"{reason} ({n})" for reason, n in Counter(refused.values()).most_common(3))
        raise ValueError(f"no row of {len(table)} can be used: {reasons}; look at the columns of the follow-up")
    repeated = o.get("key") and table[o["key"]].duplicated().any()
    persons = table.drop_duplicates(o["key"]) if repeated else table
    chosen = [tables.find_column(table, c.strip()) for c in words(o.get("covariates"))]
    left_out = identifiers.identifying(persons.drop(columns=[c for c in used if c in table]),
                                       [*words(o.get("keep")), *chosen], _ids(o, persons))
    days = _days(draft, table, left_out)
    nameless.left_out(draft, left_out)
    left_out |= {tables.find_column(table, c.strip()): "--drop" for c in words(o.get("drop"))}
    others = [c for c in table if chosen and c not in {*chosen, *used}]
    if others:
        left_out, days = {c: why for c, why in left_out.items() if c in chosen}, days.iloc[:, :0]
        draft.notes.append(f"{len(others)} columns not among --covariates left out: {', '.join(others)}")
    draft.notes += [f"column {c} left out: {why}" for c, why in left_out.items() if why == "--drop"]
    covariates = pd.concat([table.drop(columns=[c for c in {*used, *left_out, *others} if c in table]), days], axis=1)
    roles.tell(draft, covariates, readings)
    rename = mapping("rename", o["rename"]) if o.get("rename") else {}
    for old in rename:
        tables.find_column(covariates, old)
    covariates = covariates.rename(columns=rename)
    clash = [c for c in covariates if c in coded or c in ("image", "mask", "frame", "row", "patient_id", "events",
                                                          "time_days", "event")]
    covariates = covariates.rename(columns={c: f"{c}_table" for c in clash})
    draft.card["text"] = roles.codes(covariates) or None
    draft.checked |= set(covariates)
    for option, column in (("key", "_key"), ("_patient", "_patient")):
        if o.get(option):
            coded.insert(0, column, tables.canonical_keys(table[tables.find_column(table, o[option])]))
    result = pd.concat([coded, covariates], axis=1)
    if raw:
        result["_raw"] = [{str(k): v for k, v in r.items()} for r in table.to_dict("records")]
    return result[~result.index.isin(refused)].reset_index(drop=True) if refused else result


def _ids(options, table):
    """The ids of the rows that no covariate may hold; None where there are none, or they are kept."""
    key = options.get("_patient") or options.get("key")
    return table[key] if key in table and not {"patient_id", key} & set(words(options.get("keep"))) else None


def _days(draft, table, left_out):
    """Columns of dates as days since ``--start``, where it is given."""
    start = draft.options.get("start")
    if start is None:
        return table.iloc[:, :0]
    days = moments.as_days(table, left_out, dates.parse_dates(table[start], draft.options.get("date_format")))
    days = days.loc[:, [c for c in days if c not in table]]
    if len(days.columns):
        draft.understand("dates", f"days since {start}: {', '.join(days)}")
    return days


def attach(draft, cohort: pd.DataFrame, table: pd.DataFrame | None, ids) -> pd.DataFrame:
    """Join outcomes to images by the identifier that fits best: patient, file name, its stem, or path.

    Parameters
    ----------
    ids : dict of list
        Candidate keys, one per row of the cohort, by name. Images without a row and rows without an image are
        logged as unmatched and left out.
    """
    if table is None:
        return cohort
    if "_key" not in table:
        raise ValueError("tables need --key COLUMN: the column that names the patient or the image file")
    ids = {n: tables.canonical_keys(pd.Series(v, index=cohort.index)) for n, v in ids.items()}
    table, keys = _fitting(draft, table, ids)
    known = set(table["_key"])
    if not keys.isin(known).any():
        raise ValueError(f"no image belongs to a row of the table: keys {sorted(known)[:3]}, images "
                         f"{[v.iloc[0] for v in ids.values()]}; say how an id is found with --patient-pattern")
    hide = draft.options.get("_hide")
    for i in cohort.index[~keys.isin(known)]:
        draft.say("an image" if hide else cohort.at[i, "image"], "unmatched", "no row in the table")
        cohort = cohort.drop(index=i)
    for key in sorted(known - set(keys)):
        draft.say("a row of the table" if hide else f"{draft.options['key']} {draft.who(key)}", "unmatched", "no image")
    extra = table.set_index("_key").drop(columns="_raw", errors="ignore").rename(columns={"_patient": "patient_id"})
    if "patient_id" in extra:
        extra["patient_id"] = extra["patient_id"].fillna(extra.index.to_series())
    extra = extra.loc[:, [c for c in extra if c not in cohort]]
    return cohort.join(extra.reindex(keys[cohort.index]).set_axis(cohort.index))


def _fitting(draft, table, ids):
    """The table and the ids that fit its keys best; without leading zeros only where that helps and joins no two."""
    keys, best = set(table["_key"]), {}
    plain = table.assign(_key=tables.without_zeros(table["_key"]))
    for values in ids.values():
        best[len(keys & set(values))] = best.get(len(keys & set(values)), (table, values))
    fitting = max(best)
    for values in ids.values():
        bare = tables.without_zeros(values)
        fits = len(set(plain["_key"]) & set(bare))
        if fits > fitting and bare.nunique() == values.nunique() and plain["_key"].is_unique:
            draft.understand(f"key {draft.options['key']}", "some keys fit only without their leading zeros")
            best[fits], fitting = (plain, bare), fits
    return best[fitting]


def rows_with_images(draft, found, raw, image, boxes, inclusive=False) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Look each row's image (and mask) up in the listing; place them; boxes as they are in the table."""
    listed, rows = set(listing(draft.source)), []
    for i, row in enumerate(raw):
        wanted = fill(image, row)
        source = there_as(listed, wanted)
        if source is None:
            draft.say(wanted, "unmatched", "a row of the table without this file")
            continue
        missing = []
        rows.append({"_i": i, "source": source, "_boxed": bool(boxes)} | beside(draft, row, listed, missing))
        for entry in missing:
            draft.say(*entry)
    used = {r[c].partition("::")[0] for r in rows for c in ("source", *OTHERS.values()) if c in r}
    kinds = {Path(r["source"].partition("::")[0]).suffix.lower() for r in rows}
    for name in sorted(f for f in listed - used if Path(f).suffix.lower() in kinds and
                       f.split("/")[0] in {u.split("/")[0] for u in used}):
        draft.say(name, "unmatched", "a file without a row in the table")
    if not rows:
        raise ValueError(f"no file fits {image!r}: looked for {fill(image, raw.iloc[0])!r} in {draft.source}")
    placed = taking.take(draft, rows)
    cohort = found.iloc[placed["_i"]].reset_index(drop=True)
    for column in ("image", *OTHERS):
        if column in placed:
            cohort[column] = placed[column]
    if not boxes:
        return cohort, None
    if len(boxes) != 4:
        raise ValueError(f"--boxes {','.join(boxes)}: expected four columns: x_min, y_min, x_max, y_max")
    source = pd.DataFrame(list(raw.iloc[placed["_i"]]))
    edges = [tables.find_column(source, c.strip()) for c in boxes]
    for name in (c for c in edges if not pd.api.types.is_numeric_dtype(source[c])):
        word = next((v for v in source[name].dropna() if isinstance(v, str)), None)
        raise ValueError(f"--boxes: column {name!r} holds {word!r}; expected pixels as numbers")
    box = source[edges].set_axis(["x_min", "y_min", "x_max", "y_max"], axis=1)
    box[["x_max", "y_max"]] += 1 if inclusive else 0
    turned = [orientation.box_turned(row, edges) for row, edges in zip(placed.to_dict("records"), box.to_numpy(),
                                                                       strict=True)]
    box = pd.DataFrame(turned, columns=box.columns)
    box.insert(0, "image", placed["image"].to_numpy())
    _last_pixels(draft, cohort, box.dropna())
    return cohort.drop(columns=[c for c in edges if c in cohort]), box.dropna()


def _last_pixels(draft, cohort, box, most=20):
    """Say so where boxes end at the last pixel of what their masks mark, one short of the edge."""
    from medlab.imaging import formats

    short = []
    marked = cohort.dropna(subset=["mask"]).set_index("image")["mask"] if "mask" in cohort else {}
    for row in [r for r in box.drop_duplicates("image", keep=False).to_dict("records") if r["image"] in marked][:most]:
        pixels = formats.read(marked[row["image"]], root=draft.folder).pixels.any(axis=-1)
        if pixels.ndim == 2 and pixels.any():
            y, x = np.nonzero(pixels)
            short.append((x.max(), y.max()) == (row["x_max"], row["y_max"]))
    if short and all(short):
        draft.notes.append("the boxes end at the last pixel of their masks instead of the edge behind it: --inclusive")


def table(draft, source, *, image=None, boxes=None, inclusive=False, patient=None) -> None:
    """A table, or several joined by ``key``; with ``image`` (a template of file names) one row per image.

    Parameters
    ----------
    image : str, optional
        For example ``images/{folder}/{file}`` or ``volumes/patient_{PatientID:03d}.npz::scan``. The result is looked
        up among the files below the source; nothing else is ever opened. Without it: a table of patients.
    boxes : list of str, optional
        Columns with x_min, y_min, x_max, y_max (pixels from 0) of one box per row.
    inclusive : bool
        x_max and y_max are the last pixel of the box, not the edge behind it.
    patient : str, optional
        Column of the patient; the key by default.
    """
    if Path(source).is_file():
        draft.options.setdefault("tables", Path(source).name)
    if not draft.options.get("tables"):
        raise ValueError("which tables? say --tables a.csv,b.csv (names below the source)")
    patient = str(patient or draft.options.get("key") or "")
    draft.options |= {"_patient": patient} if patient else {}
    found = outcomes(draft, once=patient if image is None else None, raw=image is not None)
    card(draft, "table")
    raw = found.pop("_raw") if image is not None else None
    if patient:
        found.insert(0, "patient_id", found.pop("_patient"))
    found = found.drop(columns=[c for c in (patient, "_key") if c in found and c != "patient_id"])
    persons = found if patient else found.assign(patient_id=range(len(found)))
    for said in twins.in_words(twins.equal_rows(persons), persons):
        draft.understand("equal rows", said)
    if image is None:
        draft.card["intensity"] = None
        alias = draft.alias(found["patient_id"]) if patient else {}
        many = len(found) > 10_000  # a line for each would be larger than the table
        for who in [f"s of {len(found)} patients"] if many else found.get("patient_id", found.index):
            draft.say(f"row{'' if many else ' '}{alias.get(who, who)}", "taken")
        return finish(draft, found)
    cohort, box = rows_with_images(draft, found, raw, image, words(boxes), inclusive)
    return finish(draft, cohort, boxes=box)
