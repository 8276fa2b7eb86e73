"""Every error that an answer can be, and its shape on the wire.

Routes raise ApiError and never build an error answer themselves. A family of routes that shows
errors in a shape of its own is one more row of `_SHAPES`. What is wrong with a parameter is found
elsewhere; here is only how it is told.
"""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from endpoint.planning.answer import TooManyRowsError
from endpoint.planning.question import MOST_VIOLATIONS, InvalidQuestionError
from endpoint.rendering import to_json
from endpoint.time_limits import TookTooLongError


class ApiError(Exception):
    """An answer other than success: HTTP status, code, message, details, further headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}


Violation = dict[str, str]


def violation(parameter: str, problem: str) -> Violation:
    """One thing that is wrong with one parameter."""
    return {"parameter": parameter[:100], "problem": problem}


def invalid_input(violations: list[Violation], status: int = 400, *, unlisted: int = 0) -> ApiError:
    """unlisted: how many violations there are besides."""
    told = violations[:MOST_VIOLATIONS]
    rest = unlisted + len(violations) - len(told)
    if rest:
        told = [*told, {"parameter": "", "problem": f"{rest:,} more violations are not listed"}]
    return ApiError(status, "INVALID_INPUT", "invalid input", {"violations": told})


def violations_of(error: InvalidQuestionError) -> list[Violation]:
    """What is wrong with a question, told like what is wrong with a parameter."""
    return [
        {"parameter": found["property"], "problem": found["violation"]}
        for found in error.violations
    ]


def unauthorized(scheme: str) -> ApiError:
    return ApiError(
        401, "UNAUTHORIZED", "authentication failed", headers={"WWW-Authenticate": scheme}
    )


def forbidden() -> ApiError:
    return ApiError(403, "FORBIDDEN", "missing required scope")


def not_found() -> ApiError:
    return ApiError(404, "NOT_FOUND", "no such route")


def no_such_request() -> ApiError:
    return ApiError(404, "NOT_FOUND", "no such request, or no result of it")


def method_not_allowed(allow: str | None) -> ApiError:
    headers = {"Allow": allow} if allow else {}
    return ApiError(405, "METHOD_NOT_ALLOWED", "method not allowed on this route", headers=headers)


def granularity_not_available(finest: str) -> ApiError:
    return ApiError(
        422,
        "GRANULARITY_NOT_AVAILABLE",
        "granularity not available at this plan tier",
        {"max_granularity": finest},
    )


def window_too_large(bucket_count: int, max_buckets: int) -> ApiError:
    return ApiError(
        422,
        "WINDOW_TOO_LARGE",
        "the window holds more buckets than one query may have",
        {"bucket_count": bucket_count, "max_buckets": max_buckets},
    )


def too_many_rows(error: TooManyRowsError) -> ApiError:
    return ApiError(
        422, "TOO_MANY_ROWS", str(error), {"row_count": error.rows, "max_rows": error.most}
    )


def too_much_memory() -> ApiError:
    return ApiError(
        422,
        "TOO_MANY_ROWS",
        "the answer needs more memory than there is; ask for fewer dimensions or a shorter period",
    )


def rate_limited(retry_after_seconds: int) -> ApiError:
    return ApiError(
        429,
        "RATE_LIMITED",
        "too many requests for this key",
        headers={"Retry-After": str(retry_after_seconds)},
    )


def internal_error() -> ApiError:
    return ApiError(500, "INTERNAL_ERROR", "internal error")


def not_ready() -> ApiError:
    return ApiError(503, "NOT_READY", "nothing is published yet")


def damaged() -> ApiError:
    return ApiError(503, "NOT_READY", "what is published cannot be read; tell the operator")


def not_readable() -> ApiError:
    return ApiError(503, "NOT_READY", "keys or requests cannot be read; tell the operator")


def took_too_long(error: TookTooLongError) -> ApiError:
    return ApiError(503, "TIMEOUT", str(error))


def service_stops() -> ApiError:
    return ApiError(
        503, "NOT_READY", "the service is being stopped; ask again", headers={"Retry-After": "1"}
    )


def unreadable_request() -> ApiError:
    return ApiError(400, "INVALID_INPUT", "the request is no HTTP that can be read")


def envelope(error: ApiError, request_id: str) -> dict[str, Any]:
    """The body of an error in the first family's shape."""
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "request_id": request_id,
    }
    if error.details is not None:
        body["details"] = error.details
    return {"success": False, "error": body}


# HTTP status -> what the asker may do about it.
_ACTIONS = {
    400: "Correct what the violations name and send the request again.",
    401: "Send one Authorization header with a live API key, after the word App or Bearer.",
    403: "Use a key that has the scope metrics:manage.",
    404: "Check the path and the request id; a result is there once its request has ended.",
    405: "Use a method that the Allow header names.",
    429: "Wait for as many seconds as the Retry-After header says.",
    500: "Try again later; if it fails again, tell the operator the X-Request-Id.",
    503: "Try again later; if it stays so, tell the operator the X-Request-Id.",
}


def _error_code(error: ApiError, _: str) -> dict[str, Any]:
    violations = (error.details or {}).get("violations", [])
    return {
        "errorCode": f"E{error.status}",
        "description": error.message,
        "action": _ACTIONS.get(error.status, _ACTIONS[500]),
        "violations": [
            {"property": found["parameter"], "violation": found["problem"]} for found in violations
        ],
        "resources": [],
    }


# Path prefix -> the body of an error below it; the first prefix that fits counts.
_SHAPES: tuple[tuple[str, Callable[[ApiError, str], dict[str, Any]]], ...] = (
    ("/metrics/1/", _error_code),
    ("", envelope),
)


def error_response(request: Request, error: ApiError) -> Response:
    """The answer that tells an error in the shape of the family that the path belongs to."""
    shape = next(shape for prefix, shape in _SHAPES if request.scope["path"].startswith(prefix))
    return Response(
        to_json(shape(error, request.state.request_id)),
        status_code=error.status,
        headers={"Cache-Control": "no-store"} | error.headers,
        media_type="application/json",
    )
