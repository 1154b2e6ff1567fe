"""The schemas of the output of ``--json``, and checks of outputs by them."""

import json
from functools import cache
from importlib.resources import files

import pytest

FOLDER = files("jaxgroups") / "schemas"
END = ".schema.json"
# objects that hold whatever a file names, or some of several names, by the key they lie under: a
# name more or less is no error there
MAPS = {"metadata", "aliases", "tensors", "refused", "evidence"}
OF_NO_KIND = object()  # of no type that JSON has


def names():
    """The names of the commands that have a schema."""
    return {entry.name.removesuffix(END) for entry in FOLDER.iterdir()}


@cache
def schema(command):
    return json.loads((FOLDER / f"{command}{END}").read_text("utf-8"))


def jsonschema():
    return pytest.importorskip("jsonschema", reason="schemas are NOT checked: no jsonschema")


@cache
def validator(command, form=None):
    """The validator of a command's output, or of one form of it, by its name in ``$defs``."""
    kept = schema(command)
    if form is not None:
        kept = {"$ref": f"#/$defs/{form}", "$defs": kept["$defs"]}
    kind = jsonschema().Draft202012Validator
    kind.check_schema(kept)
    return kind(kept)


def validated(text, command):
    """The output of a command as data; fails if the schema does not allow it."""
    data = json.loads(text)
    validator(command).validate(data)
    return data


def forms(command, data):
    """The forms of output in a schema that allow these data; an output has exactly one."""
    kept = [form["$ref"].rpartition("/")[2] for form in schema(command)["oneOf"]]
    return [form for form in kept if validator(command, form).is_valid(data)]


def changes(data, here=(), maps=MAPS):
    """(description, data with one change that the schema must refuse), for every place."""
    yield f"{here} is of no kind", OF_NO_KIND
    if isinstance(data, dict):
        yield f"{here} has a key more", data | {"one more": OF_NO_KIND}
        for key, value in data.items():
            if not here or here[-1] not in maps:
                yield f"{here} lacks {key!r}", {k: v for k, v in data.items() if k != key}
            for what, changed in changes(value, (*here, key), maps):
                yield what, data | {key: changed}
    elif isinstance(data, list):
        yield f"{here} has an item more", [*data, OF_NO_KIND]
        for index, value in enumerate(data):
            for what, changed in changes(value, (*here, index), maps):
                yield what, [*data[:index], changed, *data[index + 1 :]]


def assert_nothing_else_is_taken(command, data, form=None, maps=MAPS):
    """Check that a missing key, an extra key or a value of another kind is refused."""
    check = validator(command, form)
    check.validate(data)
    taken = [what for what, changed in changes(data, maps=maps) if check.is_valid(changed)]
    assert not taken, f"the schema of {command} takes data where {taken}"
