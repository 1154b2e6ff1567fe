"""``jaxgroups prove``: its verdict as exit status, as a table, as data."""

import json

import pytest
from support.command import run
from support.schema_checks import assert_nothing_else_is_taken, forms, validated, validator

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to compare")

pytestmark = pytest.mark.usefixtures("flax_promotion")

PAIR = ["support.models.dense_pair:net", "support.models.dense_pair:FlaxNet"]
WRONG = [PAIR[0], "support.models.dense_pair:wrong"]


def test_equal(capsys, tmp_path):
    from support.models import dense_pair

    torch.save(dense_pair.net(1).state_dict(), tmp_path / "net.pth")
    argv = ["prove", *PAIR, "--example", "4,6", "--steps", "1"]
    status, out, err = run(capsys, *argv, "--checkpoint", str(tmp_path / "net.pth"))
    assert (status, err) == (0, "")
    assert out.startswith("Sequential (torch) and FlaxNet (Flax): equal\n")
    assert max(map(len, out.splitlines())) <= 80


def test_different(capsys):
    status, out, err = run(capsys, "prove", *WRONG, "--example", "4,6", "--json")
    assert (status, err) == (1, "")
    data = validated(out, "prove")
    assert forms("prove", data) == ["proof"]
    first = next(check for check in data["checks"] if check["status"] == "different")
    assert (first["item"], first["where"]) == ("outputs", "1 (layers.1)")
    assert first["difference"] > first["tolerance"] > 0
    check = validator("prove")
    assert not check.is_valid(data | {"verdict": "equal"})
    assert not check.is_valid(data | {"verdict": "not proven"})
    data["checks"] = [first]
    assert_nothing_else_is_taken("prove", data)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere:net", PAIR[1], "--example", "4,6"], "nowhere:net cannot be imported"),
        ([PAIR[1], PAIR[1], "--example", "4,6"], "expected a torch.nn.Module, got FlaxNet"),
        ([PAIR[0], PAIR[0], "--example", "4,6"], "expected a flax.nnx.Module, got Sequential"),
        ([*PAIR, "--example", "4,7"], "torch cannot run its module on the example: RuntimeError"),
        ([*PAIR, "--example", "4x6"], "--example must be a shape such as 1,224,224,3, got"),
        ([*PAIR, "--example", "4,6", "--steps", "0"], "steps must be an integer >= 1, got 0"),
        ([*PAIR, "--example", "4,6", "--checkpoint", "none.pth"], "No such file or directory"),
    ],
)
def test_refusals(capsys, argv, message):
    status, out, err = run(capsys, "prove", *argv, "--json")
    assert status == 2
    assert message in err
    assert err.startswith("jaxgroups prove: ")
    data = validated(out, "prove")
    assert forms("prove", data) == ["failed"]
    assert json.dumps(data["error"])[1:-1].split("\\n")[0] in json.dumps(err)


def test_a_checkpoint_that_does_not_fit(capsys, tmp_path):
    torch.save({"0.weight": torch.zeros(2, 2)}, tmp_path / "net.pth")
    argv = [*PAIR, "--example", "4,6", "--checkpoint", str(tmp_path / "net.pth")]
    status, _, err = run(capsys, "prove", *argv)
    assert status == 2
    assert 'Missing key(s) in state_dict: "0.bias"' in err


def test_prefix_is_refused(capsys, tmp_path):
    (tmp_path / "rules.toml").write_text('prefix = "module."')
    argv = [*PAIR, "--example", "4,6", "--rules", str(tmp_path / "rules.toml")]
    status, _, err = run(capsys, "prove", *argv)
    assert status == 2
    assert "prefix does not go with prove: the names are those of the torch module" in err
