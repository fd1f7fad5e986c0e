"""The answer of notebook 07: how many lesions are found at what price."""

from medlab.statistics import keys
from medlab.storage import plain


def of(result: dict, n_hits: int, n_alarms: int, guess: dict) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page.

    Parameters
    ----------
    result : detection.json
    n_hits, n_alarms : lesions found and false alarms at the chosen threshold
    guess : sensitivity and mAP of the blobs by the names of the result file, see `scores.as_keys`
    """
    result = plain(result)
    part = "test" if result["part"] == "test" else "validation"
    size = f"{keys.counted(result['n_lesions'], 'lesion')} in {keys.counted(result['n_images'], f'{part} image')}"
    sentences = [f"{size}: at the threshold chosen on validation {n_hits} are found, with "
                 f"{keys.counted(n_alarms, 'false alarm')} ({n_alarms / max(1, result['n_images']):.2f} an image)."]
    gain = result["baseline"]["difference_sensitivity_at_1fp"]
    if gain:
        said = keys.compared(gain, "the network", "a detector of bright blobs").removesuffix(".")
        sentences.append(f"{said}, in sensitivity at 1 false alarm an image.")
    names = {"sensitivity_at_1fp": f"sensitivity at 1 false alarm an image, {part} part",
             "map50": f"mAP at IoU 0.5, {part} part"}
    numbers = [keys.of_result(name, result, key, n=size, who="network", beside={"Otsu blobs": guess[key]}
                              if guess.get(key) is not None else {}) for key, name in names.items()]
    numbers.insert(1, keys.number("lesions found at the chosen threshold", f"{n_hits} of {result['n_lesions']}",
                                  n=keys.counted(n_alarms, "false alarm")))
    flatter = [] if part == "test" else ["Validation part, on which the choices were made: these numbers flatter."]
    none = ["No lesion in this part: only false alarms can be counted."] if not result["n_lesions"] else []
    return sentences, numbers, flatter + none
