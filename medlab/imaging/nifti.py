"""NIfTI files: reading one of either version, and writing an image with its geometry but no header of its source."""

import gzip
import math

import numpy as np

from medlab.imaging.dicom import MAX_BYTES, BadImage, Image, guard
from medlab.imaging.series import slice_of

UNSTATED = "orientation not stated in the file: axes taken as stored"


def looks_like(head) -> bool:
    """Whether the first 352 bytes are those of a NIfTI in one file."""
    return head[344:347] == b"n+1" or head[4:7] == b"n+2"


def is_pair(head) -> bool:
    """Whether the first bytes are a header of Analyze or of a NIfTI whose values lie in a second file."""
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    return len(head) >= 348 and not looks_like(head) and bool({348, 540} & sizes)


def from_stream(stream) -> object:
    """The image (`nibabel.Nifti1Image` or `Nifti2Image`) of an open stream; its first number tells the version."""
    import nibabel as nib

    head = stream.read(4)
    stream.seek(0)
    two = 540 in (int.from_bytes(head, "little"), int.from_bytes(head, "big"))
    return (nib.Nifti2Image if two else nib.Nifti1Image).from_stream(stream)


def read(file, path, frame, zipped) -> Image:
    """NIfTI-1 or -2 in one file, its axes turned to (superior, posterior, left); see `formats.read`."""
    with guard(path, "not readable as NIfTI"):
        with gzip.open(file) if zipped else open(file, "rb") as stream:
            source = from_stream(stream)
            header, shape = source.header, source.shape
            while len(shape) > 3 and shape[-1] == 1:
                shape = shape[:-1]
            channels = shape[4] if len(shape) == 5 and shape[3] == 1 else 1  # the fifth axis of NIfTI holds a vector
            shape = shape[:3] if channels > 1 else shape
            if len(shape) not in (2, 3, 4) or min(shape) < 1:
                raise BadImage(path, f"NIfTI of shape {source.shape}: expected three or four axes")
            if len(shape) == 4 and (frame is None or not 0 <= frame < shape[3]):
                raise BadImage(path, f"{shape[3]} volumes: give frame 0 to {shape[3] - 1}")
            if math.prod(shape[:3]) * channels * max(header.get_data_dtype().itemsize, 4) > MAX_BYTES:
                raise BadImage(path, f"volume {shape[:3]} is more than {MAX_BYTES // 2**20} MiB")
            index = (slice(None),) * min(3, len(shape)) + ((frame,) if len(shape) == 4 else ())
            rest = (0, slice(None)) if channels > 1 else (0,) * (len(source.shape) - len(index))
            data = np.asarray(source.dataobj[index + rest])
        if data.dtype.names:  # RGB of 8 bits
            data = np.stack([data[n] for n in data.dtype.names[:3]], axis=-1)
        data = data.reshape(*(shape[:3] + (1,) * (3 - len(shape))), -1)
        affine, known, notes = _affine(header, path)
        scale = {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # metre, mm or unknown, micrometre
        image = oriented(data, np.diag([scale, scale, scale, 1.0]) @ affine, known, notes, path)
    if image.pixels.shape[0] == 1:
        return slice_of(image, 0, path)
    return slice_of(image, frame, path) if frame is not None and len(shape) < 4 else image


def _affine(header, path):
    """Affine to RAS in the file's unit, whether the file states it, notes; the sform goes before the qform."""
    found, notes = {}, []
    for name in ("sform", "qform"):
        try:
            matrix = getattr(header, f"get_{name}")()
        except ValueError:  # a quaternion longer than 1
            continue
        if int(header[f"{name}_code"]) and np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:3, :3])) > 1e-12:
            found[name] = matrix
    if not found:
        return header.get_base_affine(), False, [UNSTATED]
    if len(found) == 2:
        s, q = found.values()
        steps = [np.linalg.norm(m[:3, :3], axis=0) for m in (s, q)]
        if ((s * q)[:3, :3].sum(axis=0) < 0.5 * steps[0] * steps[1]).any():
            raise BadImage(path, "its sform and qform turn the axes differently: one is wrong, and left and right "
                                 "cannot be told; remove the wrong one (code 0)")
        corners = np.array([(0, 0, 0, 1), (*(n - 1 for n in (*header.get_data_shape(), 1)[:3]), 1)]).T
        away = np.linalg.norm(((s - q) @ corners)[:3], axis=0).max()
        if away > 0.5 * steps[0].min():
            notes.append(f"sform and qform lie {away:.1f} apart: the sform is taken")
    return next(iter(found.values())), True, notes


def oriented(data, affine, known, notes, path) -> Image:
    """Image of values (i, j, k, c), axes turned to superior, posterior, left without interpolation.

    Parameters
    ----------
    affine : (4, 4), index (i, j, k, 1) to RAS mm
    known : bool
        Whether the file says so; else the affine serves for the spacing alone, and the axes as it has them.
    notes : list of str
    """
    import nibabel as nib

    if data.dtype.kind not in "biuf":
        raise BadImage(path, f"values of type {data.dtype.name}: expected numbers")
    data = data.astype(np.float32 if data.dtype.kind == "f" else data.dtype.newbyteorder("="), copy=False)
    found = nib.io_orientation(affine)
    turn = nib.orientations.ornt_transform(found, nib.orientations.axcodes2ornt("LPS"))
    if found[:, 0].tolist() != [0, 1, 2]:
        notes = [*notes, f"axes turned from {''.join(nib.orientations.ornt2axcodes(found))} to LPS"]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine @ nib.orientations.inv_ornt_aff(turn, data.shape[:3])
    pixels = np.ascontiguousarray(nib.orientations.apply_orientation(data, turn).transpose(2, 1, 0, 3))
    lps = lps[:, [2, 1, 0, 3]]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    valid = np.isfinite(spacing).all() and (spacing > 0).all()
    axes = {2 - int(to): (n + 1) * int(sign) for n, (to, sign) in enumerate(turn)}
    return Image(pixels, tuple(spacing.tolist()) if valid else None, lps if known else None, notes=tuple(notes),
                 turn=tuple(axes[a] for a in range(3)))


def write(image, folder, name) -> dict:
    """Write an `dicom.Image`; returns the cells ``image`` and, where the file cannot say it, ``spacing_mm``.

    A known orientation makes it NIfTI-2 (.nii.gz; its geometry is float64, as it should come back exactly; world
    coordinates turned from LPS to RAS; several channels of a volume are its fifth axis), anything else .npy. Pixels
    keep their type and values.
    """
    flat = image.pixels.ndim == 3 and image.pixels.shape[-1] > 1
    if image.affine is None or flat or image.pixels.dtype.name in ("bool", "float16"):
        np.save(folder / f"{name}.npy", image.pixels, allow_pickle=False)
        spacing = " x ".join(repr(float(v)) for v in image.spacing_mm) if image.spacing_mm else None
        return {"image": f"{name}.npy"} | ({"spacing_mm": spacing} if spacing else {})
    import nibabel as nib

    pixels = image.pixels if image.pixels.ndim == 4 else image.pixels[None]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine)[:, [2, 1, 0, 3]]
    pixels = pixels.transpose(2, 1, 0, 3)
    several = pixels.shape[-1] > 1
    volume = nib.Nifti2Image(pixels[:, :, :, None] if several else pixels[..., 0], affine, dtype=pixels.dtype)
    volume.header.set_xyzt_units("mm")
    if several:
        volume.header.set_intent("vector")
    with gzip.GzipFile(folder / f"{name}.nii.gz", "wb", compresslevel=1, mtime=0) as file:
        file.write(volume.to_bytes())
    return {"image": f"{name}.nii.gz"}
