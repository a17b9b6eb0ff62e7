"""Say a confidence in the caption of a photograph."""


def describe_confidence(confidence: float) -> str:
    """Give a probability as `87%`; `100%` is kept for certainty, so 0.998 gives `>99%`."""
    return ">99%" if 0.995 <= confidence < 1 else f"{confidence:.0%}"


def describe_answer(confidence: float, is_sure: bool) -> str:
    """Give a probability with what it is not enough for, as `87%, not sure`."""
    return describe_confidence(confidence) + ("" if is_sure else ", not sure")
