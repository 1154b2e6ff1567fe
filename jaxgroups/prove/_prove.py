"""The proof: runs both modules on the same data, one item after the other."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxgroups.convert import ConversionWarning, Plan, load_torch, plan
from jaxgroups.convert._compare import compare_as_they_are
from jaxgroups.convert._files.show import counted
from jaxgroups.prove import _torch_side as torch_side
from jaxgroups.prove._attention import exact_attention
from jaxgroups.prove._flax_side import FlaxSide, in_mode, marked_dropout, widen
from jaxgroups.prove._gradients import gradients
from jaxgroups.prove._inputs import Arrays, Spec, inputs, other_batch, other_sizes, random, specs_of
from jaxgroups.prove._layout import Layout
from jaxgroups.prove._mapping import computed, flattened
from jaxgroups.prove._outputs import in_float32, outputs, ran
from jaxgroups.prove._result import Check, Proof
from jaxgroups.prove._structure import structure
from jaxgroups.prove._tolerance import TOO_LARGE, rounding
from jaxgroups.prove._training import state, steps

_FLOAT32 = ("random", "example", "large")


def prove(
    torch_module: Any,
    flax_module: nnx.Module,
    example: Any,
    *,
    steps: int = 3,
    names: Any = None,
    rules: Mapping[str, Any] | None = None,
    ignore: Any = (),
    channels_last: bool | Sequence[bool] = True,
) -> Proof:
    """Compare a torch module and an nnx module: are they the same function, also in training?

    Copies of both run on the CPU with the same weights, which `jaxgroups.convert` converts from
    torch. Tensors whose values are all equal, such as the weight 1 and the bias 0 of a new norm,
    are perturbed first, on both sides, because they hide differences. The items are:

    * structure: every parameter and buffer has its counterpart; the same ones are trained and
      shared;
    * outputs: in evaluation mode, on random, structured and extreme inputs, with another batch size
      and other spatial sizes if torch accepts them; in float64 and in float32;
    * gradients: of a random linear functional of the outputs, for every parameter and input;
    * state: outputs in training mode, and buffers after the call, such as running statistics;
    * steps: the losses of SGD steps, and all tensors after them.

    In training mode, a dropout multiplies by a number for its rate and kind, on both sides, because
    random masks cannot be compared.

    Random operations, results that Python branches on, and parameters that are computed from
    several tensors cannot be compared. They are listed as limits, and the verdict is
    ``"not proven"``. If the outputs differ, the items after them are not compared.

    Tolerances: in float64 ``eps * operations * terms * amplification``, with the number of
    operations that torch runs, the number of terms of the longest sum, and the amplification of a
    small change of the input; twice that for gradients and training, plus twice that for each step.
    A network with a tolerance above 1e-6 is not proven. In float32 four times torch's own
    difference between float32 and float64, plus ``eps * sqrt(operations * terms)``.

    float64 is enabled during the call only, and for this thread only (``jax.enable_x64``). Layers
    with ``dtype=float32`` then compute in float64. A Flax module that still has float32 results, by
    ``astype``, is compared in float32 alone and not proven.

    Args:
      torch_module: a ``torch.nn.Module``, in any mode.
      flax_module: a ``flax.nnx.Module``, real or from ``nnx.eval_shape``; ``train()`` and
        ``eval()`` must switch its mode.
      example: the shape of the input in torch's layout, ``(1, 3, 224, 224)``; an array, also of
        integers; or a tuple of them for several arguments.
      steps: the number of SGD steps, at least 1.
      names, rules, ignore: as in `jaxgroups.convert.plan`.
      channels_last: whether arrays of three or more axes are ``(N, C, *spatial)`` in torch and
        ``(N, *spatial, C)`` in Flax; False for a Flax module with torch's layout. A sequence has
        one value for each input.

    Returns:
      The proof, with its verdict.

    Raises:
      TypeError: not a torch module, not an nnx module, or an example of another kind.
      ValueError: `steps` below 1; torch cannot run its module on the example; a module that cannot
        be copied.
    """
    if not hasattr(torch_module, "state_dict") or not hasattr(torch_module, "named_modules"):
        raise TypeError(f"expected a torch.nn.Module, got {type(torch_module).__name__}")
    if not isinstance(flax_module, nnx.Module):
        raise TypeError(f"expected a flax.nnx.Module, got {type(flax_module).__name__}")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps must be an integer >= 1, got {steps!r}")
    options = {"names": names, "rules": rules, "ignore": tuple(ignore)}
    work = _Work(
        torch_module, flax_module, specs_of(example), steps, options, Layout(channels_last)
    )
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision("highest"),
        jax.default_device(jax.devices("cpu")[0]),
        exact_attention() as notes,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ConversionWarning)  # the proof has them as notes
        with torch_side.defaults("float64"):
            proof = work.proof()
            proof.notes.extend(notes)
            return proof


class _Work:
    """The work of one call of `prove`."""

    def __init__(
        self, module: Any, model: Any, specs: list[Spec], count: int, options: Any, layout: Layout
    ) -> None:
        self.source = module
        self.template = model
        self.specs = specs
        self.count = count
        self.options = options
        self.layout = layout
        self.result = Proof(type(module).__name__, type(model).__name__)

    def proof(self) -> Proof:
        result = self.result
        self.wide = torch_side.copy_of(self.source, "float64")
        torch_side.perturb_constants(self.wide)
        given = inputs(self.specs)
        self._run_torch(given["random"])
        planned = self._plan(given["random"])
        result.checks.extend(structure(self.wide, self.template, planned))
        result.notes.extend(planned.warnings)
        if result.verdict == "different":
            return self._not_compared("outputs", "gradients", "state", "steps", why="structure")
        self.plan = planned
        self.model = self._loaded("float64", given["random"])
        widen(self.model)
        return self._compared(given)

    def _compared(self, given: dict[str, Arrays]) -> Proof:
        result = self.result
        self._outputs(given)
        if result.verdict == "different":
            return self._not_compared("gradients", "state", "steps", why="outputs")
        if not self.flax.branches and self.rounded:
            result.checks.extend(
                gradients(
                    self.wide, self.flax, given["random"], self.layout, self.plan, self.rounding
                )
            )
        else:
            self._not_compared("gradients", why="")
        self._training()
        return result

    def _run_torch(self, arrays: Arrays) -> None:
        try:
            operations = torch_side.operations(self.wide, arrays)
            self.layout.learn(self.wide, arrays)
        except Exception as error:
            text = f"torch cannot run its module on the example: {type(error).__name__}: {error}"
            raise ValueError(text) from error
        self.batch = max(3, self.specs[0].shape[0] if self.specs[0].shape else 1)
        self.rounding = rounding(self.wide, operations, arrays, self.batch)
        self.result.rounding.update(self.rounding.as_dict(self.batch))
        self._random = operations.random
        if operations.random:
            self._limit(
                f"random operations of torch in evaluation mode: {_listed(operations.random)}"
            )
        if operations.data_dependent:
            names = _listed(operations.data_dependent)
            self._limit(f"results of torch that may decide what it does next: {names}")
        self.rounded = self.rounding.steps(self.count) <= TOO_LARGE
        if not self.rounded:
            self._limit(f"rounding may be as large as a difference: {self.rounding.float64:.1e}")

    def _plan(self, arrays: Arrays) -> Plan:
        state_dict = self.wide.state_dict()  # its tensors show which are shared
        try:
            return plan(self.template, state_dict, example=self._example(arrays), **self.options)
        except ValueError:  # the model cannot be called, which the check of the outputs reports
            return plan(self.template, state_dict, **self.options)

    def _loaded(self, dtype: str, arrays: Arrays) -> nnx.Module:
        """A copy of the Flax module with torch's weights."""
        tensors = torch_side.copy_of(self.wide, dtype).state_dict()
        model = nnx.clone(self.template)
        try:
            return load_torch(model, tensors, example=self._example(arrays), **self.options)[0]
        except ValueError:
            return load_torch(nnx.clone(self.template), tensors, **self.options)[0]

    def _example(self, arrays: Arrays) -> tuple[Any, ...]:
        return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in self.layout.to_flax(arrays))

    def _outputs(self, given: dict[str, Arrays]) -> None:
        self.flax = FlaxSide(self.model, self.layout.to_flax)
        _, error = ran(lambda: self.flax.forward(given["random"]))
        if error:
            near = self._first(given["random"], self.rounding.float64)
            text = f"{near}; {error}" if near else error
            self.result.checks.append(Check("outputs", "random", "different", where=text))
            return
        if self.flax.branches:
            self._limit("the Flax module branches on values: jax.jit cannot trace it")
        if self.flax.draws:
            self._limit("random operations of Flax in evaluation mode")
        if name := self.flax.narrow(given["random"]):
            self._limit(f"the Flax module computes in {name} although its weights are float64")
            self.rounded = False
            if not self._random and not self.flax.draws:
                self._compare_float32(given)
        if self._random or self.flax.draws or not self.rounded:
            self._not_compared("outputs", why="")
            return
        args = (self.layout, self.rounding)
        checks = outputs(self.wide, self.flax, given, *args, self._first)
        self.result.checks.extend(checks)
        if self.result.verdict == "different":
            return
        more = outputs(self.wide, self.flax, self._other_inputs(), *args, self._first)
        self.result.checks.extend(more)
        if self.result.verdict != "different":
            self._compare_float32(given)

    def _compare_float32(self, given: dict[str, Arrays]) -> None:
        flax = FlaxSide(self._loaded("float32", given["random"]), self.layout.to_flax)
        with torch_side.defaults("float32"):
            module = torch_side.copy_of(self.wide, "float32")
            wide = torch_side.copy_of(module, "float64")
            some = {name: given[name] for name in _FLOAT32 if name in given}
            checks = in_float32(wide, module, flax, some, self.layout, self.rounding, self._first)
        self.result.checks.extend(checks)

    def _other_inputs(self) -> dict[str, Arrays]:
        """Inputs with another batch size and with other spatial sizes, if torch accepts them."""
        accepted: dict[str, Arrays] = {}
        for what, choices in (
            ("another batch", [other_batch(self.specs, self.specs[0].shape[0] + 1)]
             if self.specs[0].shape else []),
            ("another size", other_sizes(self.specs)),
        ):  # fmt: skip
            for specs in choices:
                arrays = random(specs, 6)
                try:
                    torch_side.forward(self.wide, arrays)
                except Exception:  # torch's module does not accept this size
                    continue
                accepted[what] = arrays
                break
            else:
                if choices:
                    self.result.notes.append(f"{what}: torch's module does not take it")
        return accepted

    def _training(self) -> None:
        result, specs = self.result, other_batch(self.specs, self.batch)
        if entries := computed(self.plan):
            some = _listed({str(e.flax) for e in entries})
            self._limit(f"gradients and training of parameters computed of several tensors: {some}")
        if ignored := self._ignored(specs):
            self._limit(f"parameters of torch that are ignored, with influence: {_listed(ignored)}")
        module = torch_side.copy_of(self.wide, "float64", train=True)
        arrays = random(specs, 7)
        with torch_side.marked_dropout(module):
            try:
                copied = torch_side.copy_of(module, "float64", train=True)
                operations = torch_side.operations(copied, arrays)
            except Exception as error:
                text = f"{type(error).__name__}: {error}".split("\n")[0]
                self._limit(f"torch cannot run its module in training mode: {text}")
                self._not_compared("state", "steps", why="")
                return
            flax = FlaxSide(self.model, self.layout.to_flax, train=True)
            ran(lambda: flax.forward(arrays))  # sets flax.draws
            if operations.random:
                self._limit(f"random operations of torch in training: {_listed(operations.random)}")
            if flax.draws:
                self._limit("random operations of Flax in training mode")
            if operations.random or flax.draws or not self.rounded:
                self._not_compared("state", "steps", why="")
                return
            result.checks.extend(
                state(module, flax, arrays, self.layout, self.plan, self.rounding,
                      self._first_in_training)
            )  # fmt: skip
        if result.verdict == "different":
            self._not_compared("steps", why="state")
            return
        if flax.branches or computed(self.plan):
            self._not_compared("steps", why="")
            return
        module = torch_side.copy_of(self.wide, "float64", train=True)
        with torch_side.marked_dropout(module):
            result.checks.extend(
                steps(module, flax, specs, self.count, self.layout, self.plan, self.rounding)
            )

    def _ignored(self, specs: list[Spec]) -> set[str]:
        """The ignored parameters on which the outputs depend."""
        names = {name for e in self.plan.of_status("ignored") for name in e.torch}
        named = dict(self.wide.named_parameters())
        if not names & set(named):
            return set()
        arrays = random(specs, 8)
        weights = [np.ones(y.shape) for y in torch_side.forward(self.wide, arrays)]
        gradients, _ = torch_side.gradients(self.wide, arrays, weights)
        return {name for name in names & set(named) if gradients[name].any()}

    def _first(self, arrays: Arrays, allowed: float) -> str:
        """The first module that differs in evaluation mode."""
        return self._first_of(self.wide, in_mode(self.model, False), arrays, allowed)

    def _first_in_training(self, arrays: Arrays, allowed: float) -> str:
        module = torch_side.copy_of(self.wide, "float64", train=True)
        model = in_mode(self.model, True)
        with torch_side.marked_dropout(module), marked_dropout(model):
            return self._first_of(module, model, arrays, allowed)

    def _first_of(self, module: Any, model: nnx.Module, arrays: Arrays, allowed: float) -> str:
        try:
            comparison = compare_as_they_are(
                module,
                model,
                arrays,
                names=self.options["names"],
                rtol=allowed,
                channels_last=self.layout.channels_last,
                features=flattened(self.plan),
                partial=True,
            )
        except ValueError:  # no module has a counterpart
            return ""
        bad = comparison.first
        if bad is None:
            return ""
        if not bad.torch:
            return "the whole module, after all of its layers"
        shapes = (
            f": shapes {bad.torch_shape} and {bad.flax_shape}" if bad.relative == np.inf else ""
        )
        return f"{bad.torch} ({bad.flax}){shapes}"

    def _limit(self, text: str) -> None:
        self.result.limits.append(text)

    def _not_compared(self, *items: str, why: str) -> Proof:
        where = f"{why} differ{'s' if why == 'structure' else ''} already" if why else "a limit"
        checks = [Check(item, "everything", "not compared", where=where) for item in items]
        self.result.checks.extend(checks)
        return self.result


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    more = f" and {counted(len(shown) - 4, 'other')}" if len(shown) > 4 else ""
    return ", ".join(shown[:4]) + more
