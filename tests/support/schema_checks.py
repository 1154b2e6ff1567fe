"""The schemas of what ``--json`` prints, and outputs held against them."""

import json
from functools import cache
from importlib.resources import files

import pytest

FOLDER = files("jaxgroups") / "schemas"
END = ".schema.json"
# objects that hold whatever a file names, by the key they lie under: a name more or less is no
# error there
MAPS = {"metadata", "aliases", "tensors", "refused"}
OF_NO_KIND = 0.5  # no output here has a fraction anywhere


def names():
    """The commands that have a schema."""
    return {entry.name.removesuffix(END) for entry in FOLDER.iterdir()}


@cache
def schema(command):
    return json.loads((FOLDER / f"{command}{END}").read_text("utf-8"))


def jsonschema():
    return pytest.importorskip("jsonschema", reason="schemas are NOT checked: no jsonschema")


@cache
def validator(command, form=None):
    """Of all that a command prints, or of one form of it, by its name in ``$defs``."""
    kept = schema(command)
    if form is not None:
        kept = {"$ref": f"#/$defs/{form}", "$defs": kept["$defs"]}
    kind = jsonschema().Draft202012Validator
    kind.check_schema(kept)
    return kind(kept)


def validated(text, command):
    """What a command printed, as data; fails unless it is what the schema says."""
    data = json.loads(text)
    validator(command).validate(data)
    return data


def forms(command, data):
    """Which forms of output a schema takes this for: one, where it is an output."""
    kept = [form["$ref"].rpartition("/")[2] for form in schema(command)["oneOf"]]
    return [form for form in kept if validator(command, form).is_valid(data)]


def changes(data, here=(), maps=MAPS):
    """(what, the same data with one change that no schema may take): every place in it."""
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
    """Every key dropped or added and every value of another kind is refused."""
    check = validator(command, form)
    check.validate(data)
    taken = [what for what, changed in changes(data, maps=maps) if check.is_valid(changed)]
    assert not taken, f"the schema of {command} takes data where {taken}"
