"""Describe the requests and responses of the HTTP service in OpenAPI."""

from typing import Annotated

from fastapi import Query

from hangtag.io import JsonObject

Explain = Annotated[
    bool, Query(description="Also return a heat map for each photograph (Grad-CAM), as a picture to lay over it.")
]
# Request and response schemas for OpenAPI.
PHOTOGRAPH: JsonObject = {"schema": {"type": "string", "format": "binary"}}
CLASSIFY_BODY: JsonObject = {
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
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
_RESULT = {
    "type": "object",
    "description": "A prediction, or `error` instead.",
    "properties": {
        "name": {"type": ["string", "null"], "description": "The file name, if one was sent."},
        "label": {"type": "string", "description": "The most probable class."},
        "confidence": {**_PROBABILITY, "description": "Its calibrated probability."},
        "is_sure": {
            "type": "boolean",
            "description": "Whether the photograph is in distribution and the confidence reaches the threshold.",
        },
        "in_distribution": {"type": "boolean", "description": "Whether it resembles a catalogue photograph."},
        "levels": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "attributes": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"value": {"type": "string"}, "confidence": _PROBABILITY},
            },
        },
        "alternatives": {
            "type": "array",
            "items": {"type": "object", "properties": {"label": {"type": "string"}, "confidence": _PROBABILITY}},
        },
        "heatmap": {
            "type": "object",
            "description": "The Grad-CAM heat map, with `explain=true`.",
            "properties": {
                "label": {"type": "string", "description": "The class that it explains."},
                "png": {
                    "type": "string",
                    "contentEncoding": "base64",
                    "contentMediaType": "image/png",
                    "description": "In the photograph's proportions, transparent without evidence for the class.",
                },
            },
        },
        "error": _ERROR,
    },
}


def _make_json_response(text: str, schema: JsonObject) -> JsonObject:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_PROBLEM = {"type": "object", "required": ["error"], "properties": {"error": _ERROR}}
CLASSIFY_RESPONSES: dict[int | str, JsonObject] = {
    200: _make_json_response(
        "One result for each photograph, in their order.",
        {
            "type": "object",
            "required": ["model", "results"],
            "properties": {"model": {"type": "string"}, "results": {"type": "array", "items": _RESULT}},
        },
    ),
    401: _make_json_response("The API key is missing or wrong.", _PROBLEM),
    408: _make_json_response("The upload is too slow.", _PROBLEM),
    413: _make_json_response("Too many bytes, pixels or photographs.", _PROBLEM),
    415: _make_json_response("Not a picture in a known format.", _PROBLEM),
    421: _make_json_response("The `Host` name is not allowed.", _PROBLEM),
    422: _make_json_response(
        "The picture is empty or damaged, the form has no file, or the model cannot explain.", _PROBLEM
    ),
    429: _make_json_response("Too many requests at once from this client.", _PROBLEM),
    503: _make_json_response("Overloaded or stopping: try again after `Retry-After` seconds.", _PROBLEM),
}
