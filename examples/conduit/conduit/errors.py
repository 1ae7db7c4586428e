"""Refusals and failures as JSON.

Every one has `errors` (RealWorld's own form: field → messages) and, for whoever has to act on it, `failed`
(the operation), `expected`, and `retry`: "safe" (as it is), "safe after correction", or "unsafe" (the write
may have happened; look first). A refused request changed nothing. What was sent is never repeated: it may
hold a password.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any, Optional

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

log = logging.getLogger("conduit")

SAFE = "safe"
AFTER_CORRECTION = "safe after correction"
UNSAFE = "unsafe"
_READS = ("GET", "HEAD", "OPTIONS")


class ApiError(Exception):
    """A refusal with its status; nothing was changed."""

    def __init__(
        self, status: int, field: str, message: str, expected: str, retry: str = AFTER_CORRECTION
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errors = {field: [message]}
        self.expected = expected
        self.retry = retry


def not_found(what: str) -> ApiError:
    return ApiError(404, what, "not found", f"an existing {what}")


def forbidden(what: str) -> ApiError:
    return ApiError(403, what, "belongs to somebody else", f"a {what} of the user who is logged in")


def taken(field: str) -> ApiError:
    return ApiError(422, field, "has already been taken", f"a {field} that nobody else has")


def problem(
    request: Request,
    status: int,
    errors: dict[str, list[str]],
    expected: str,
    retry: str,
    headers: Optional[dict[str, str]] = None,
) -> JSONResponse:
    body = {
        "errors": errors,
        "failed": f"{request.method} {request.url.path}",
        "expected": expected,
        "retry": retry,
    }
    return JSONResponse(jsonable_encoder(body), status, headers)


def _api_error(request: Request, error: Any) -> JSONResponse:
    headers = {"WWW-Authenticate": "Token"} if error.status == 401 else None
    return problem(request, error.status, error.errors, error.expected, error.retry, headers)


def _invalid(request: Request, error: Any) -> JSONResponse:
    errors: dict[str, list[str]] = defaultdict(list)
    for item in error.errors():
        if item["type"] == "json_invalid":
            errors["body"].append("is not valid JSON")
            continue
        path = [str(part) for part in item["loc"]]
        errors[".".join(path[1:] or path)].append(item["msg"])
    expected = "; ".join(f"{field}: {messages[0]}" for field, messages in errors.items())
    return problem(request, 422, errors, expected, AFTER_CORRECTION)


def _http_error(request: Request, error: Any) -> JSONResponse:
    expected = {
        404: "a path of this API, see /openapi.json",
        413: "a shorter body",
        405: f"one of the methods {(error.headers or {}).get('Allow', '')}",
    }.get(error.status_code, "a request that the API describes, see /openapi.json")
    errors = {"request": [str(error.detail)]}
    return problem(request, error.status_code, errors, expected, AFTER_CORRECTION, error.headers)


def _conflict(request: Request, error: Any) -> JSONResponse:
    errors = {"request": ["another request changed what this one refers to at the same moment"]}
    return problem(request, 409, errors, "the same request once more", SAFE)


def _unavailable(request: Request, error: Any) -> JSONResponse:
    log.error("%s %s: the database did not answer: %s", request.method, request.url.path, error)
    retry = SAFE if request.method in _READS else UNSAFE
    errors = {"database": ["did not answer"]}
    return problem(request, 503, errors, "a database that answers", retry, {"Retry-After": "1"})


def _failure(request: Request, error: Any) -> JSONResponse:
    retry = SAFE if request.method in _READS else UNSAFE
    return problem(request, 500, {"server": ["internal error"]}, "no error; this is a defect here", retry)


def install(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    for conflict in (IntegrityError, StaleDataError):
        app.add_exception_handler(conflict, _conflict)
    for unavailable in (OperationalError, InterfaceError, PoolTimeout, ConnectionError):
        app.add_exception_handler(unavailable, _unavailable)
    app.add_exception_handler(Exception, _failure)
