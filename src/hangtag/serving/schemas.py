"""What the service takes and gives, as OpenAPI describes it."""

from typing import Any

PHOTOGRAPH: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
CLASSIFY_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        **dict.fromkeys(("image/jpeg", "image/png", "image/webp", "application/octet-stream"), PHOTOGRAPH),
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
    },
}
_CHANCE = {"type": "number", "minimum": 0, "maximum": 1}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
_RESULT = {
    "type": "object",
    "description": "An answer, or `error` in its place.",
    "properties": {
        "name": {"type": ["string", "null"], "description": "The file's name, where it was sent."},
        "label": {"type": "string", "description": "The likeliest class."},
        "confidence": {**_CHANCE, "description": "Its calibrated probability."},
        "is_sure": {"type": "boolean", "description": "Whether the confidence keeps the wanted precision."},
        "is_familiar": {"type": "boolean", "description": "Whether it looks like a catalogue photograph at all."},
        "levels": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "attributes": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"value": {"type": "string"}, "confidence": _CHANCE},
            },
        },
        "alternatives": {
            "type": "array",
            "items": {"type": "object", "properties": {"label": {"type": "string"}, "confidence": _CHANCE}},
        },
        "looked": {
            "type": "object",
            "description": "Where the model looked, for `explain=true`.",
            "properties": {
                "label": {"type": "string", "description": "The class that it found there."},
                "png": {
                    "type": "string",
                    "contentEncoding": "base64",
                    "contentMediaType": "image/png",
                    "description": "A picture of the photograph's proportions, transparent where nothing was found.",
                },
            },
        },
        "error": _ERROR,
    },
}


def _describe(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_PROBLEM = {"type": "object", "required": ["error"], "properties": {"error": _ERROR}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _describe(
        "An answer for each photograph, in their order.",
        {
            "type": "object",
            "required": ["model", "results"],
            "properties": {"model": {"type": "string"}, "results": {"type": "array", "items": _RESULT}},
        },
    ),
    401: _describe("The key is missing or wrong.", _PROBLEM),
    408: _describe("The upload comes too slowly.", _PROBLEM),
    413: _describe("Too many bytes, pixels or photographs.", _PROBLEM),
    415: _describe("No picture of a known kind.", _PROBLEM),
    421: _describe("The service does not know itself by the name that it was asked under.", _PROBLEM),
    422: _describe("The picture is empty or damaged, the form has no file, or the model cannot explain.", _PROBLEM),
    429: _describe("Too many requests at once from this client.", _PROBLEM),
    503: _describe("Too much to do, or being stopped: try again after `Retry-After` seconds.", _PROBLEM),
}
