"""One volume or page of files that hold several, by ``--frame``; it is written anew, as masks lie on it alone."""


def one_of_several(draft, rows) -> None:
    """Rows whose file cannot be read as a whole take the volume of ``--frame``, in place.

    Raises
    ------
    ValueError
        An option that is no whole number from 0.
    """
    from medlab.imaging import dicom, formats

    number = draft.options.get("frame")
    if number is None:
        return
    if not str(number).isdigit():
        raise ValueError(f"--frame {number!r}: expected a whole number from 0")
    count = 0
    for row in rows:
        try:
            if not {"frame", "_channels"} & set(row):
                formats.read(row["source"], root=draft.source)
        except dicom.BadImage as error:
            if "give frame" in error.reason:
                row |= {"_channels": [(row["source"], int(number))], "_case": row["source"]}
                count += 1
    draft.understand("volumes in one file", f"number {number} (from 0) of {count} of {len(rows)} files")
