"""Boxes of a detector as other programs read them: COCO JSON."""

import pandas as pd


def coco(listed: pd.DataFrame, images: pd.DataFrame, names: list, info: dict) -> dict:
    """Findings in the format of COCO, pixels of the original images; of a volume each box has its slices beside it.

    Parameters
    ----------
    listed : of `findings.listed`, with ``image``, ``frame`` (or not), ``label``, ``score`` and the edges of the box
    images : a row per image that was looked at, also where nothing was found: ``row``, ``image``, ``frame`` (or not),
        ``patient_id``, ``height``, ``width``
    names : of the classes; info : what made the boxes

    Returns
    -------
    dict: ``info``, ``images``, ``categories``, ``annotations`` (``bbox`` is x, y, width, height; ``score`` beside it).
    """
    key = ["image", *(["frame"] if "frame" in listed and "frame" in images and images["frame"].notna().any() else [])]
    number = {tuple(values): int(row) for *values, row in images[[*key, "row"]].itertuples(index=False)}
    about = [{"id": int(one["row"]), "file_name": str(one["image"]), "height": int(one["height"]),
              "width": int(one["width"]), "patient_id": str(one["patient_id"])}
             | ({"frame": int(one["frame"])} if "frame" in key else {}) for _, one in images.iterrows()]
    found = []
    for n, one in enumerate(listed.to_dict("records"), start=1):
        x, y = float(one["x_min"]), float(one["y_min"])
        width, height = float(one["x_max"]) - x, float(one["y_max"]) - y
        slices = {name: float(one[name]) for name in ("z_min", "z_max") if pd.notna(one.get(name))}
        found.append({"id": n, "image_id": number[tuple(one[name] for name in key)],
                      "category_id": names.index(one["label"]) + 1, "bbox": [x, y, width, height],
                      "area": width * height, "iscrowd": 0, "score": float(one["score"])} | slices)
    return {"info": info, "images": about, "annotations": found,
            "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)]}
