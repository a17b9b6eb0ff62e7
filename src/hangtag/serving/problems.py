"""What the service answers where it cannot do what was asked: a status, a code, what is wrong and what to do."""

from typing import Any

from starlette.responses import JSONResponse


class ProblemError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        code: Stable, for programs.
        message: What is wrong and what to do, for people; never a path or a traceback.
        retry_after: Seconds after which to try again, where that helps.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def to_json(self) -> dict[str, Any]:
        """Give the body of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def answer_problem(problem: ProblemError) -> JSONResponse:
    """Give the response."""
    headers = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    return JSONResponse(problem.to_json(), problem.status, headers)


# What is wrong with a photograph, and the status of a request for it alone; any other is 422.
PHOTOGRAPH_STATUS = {"not_an_image": 415, "too_many_pixels": 413, "too_many_bytes": 413, "stopping": 503}
SAVE_AGAIN = "Open the picture in any editor and save it again."
PHOTOGRAPH_HINTS = {
    "empty_file": "Send the content of a photograph.",
    "not_an_image": "Send a JPEG, PNG, WebP, GIF, BMP or TIFF picture.",
    "too_many_pixels": "Send a smaller picture; the model looks at few pixels anyway.",
    "truncated": "Send the whole file.",
    "too_many_scans": SAVE_AGAIN,
    "too_many_segments": SAVE_AGAIN,
    "too_slow": "Send a smaller picture, or save it as JPEG.",
    "stopping": "Try again soon.",
}


def refuse_photograph(code: str, reason: str) -> ProblemError:
    """Say why a photograph was not classified."""
    hint = PHOTOGRAPH_HINTS.get(code, "Send another photograph.")
    return ProblemError(PHOTOGRAPH_STATUS.get(code, 422), code, f"{reason[:1].upper()}{reason[1:]}. {hint}")
