"""Finds what is wrong with a port, fault by fault, and proves each by mending a copy.

In the isolated reading the pieces of a port agree or disagree independently of each other, so that
all pieces can be examined at once: one forward pass tries a change in each. A cause is named only
if its change is needed (without it the piece disagrees) and enough (with it, and the others of its
piece, the piece agrees), on inputs that were not used to choose it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations, islice

import numpy as np
import torch
from torch import Tensor, nn

from genmobilenet.network import GenMobileNet
from porting.carry_out import PlannedValues, planned_values, planned_values_onto
from porting.errors import BadInput
from porting.graph.layers import layers_of
from porting.mapping.input_spec import InputConvention
from porting.mapping.match import Match, match_by_order, match_module
from porting.own_module import copied
from porting.parity.compare import Comparison
from porting.parity.diagnosis import changes
from porting.parity.diagnosis.cause import (
    Diagnosis,
    Difference,
    Hypothesis,
    NamedCause,
    Trial,
    Unexplained,
)
from porting.parity.diagnosis.causes import EXPLANATIONS, FAMILIES, precision
from porting.parity.diagnosis.evidence import (
    Piece,
    PieceError,
    PieceRunner,
    Surroundings,
    steps_of,
)
from porting.parity.judge_set import judges_of
from porting.parity.module_checks import (
    batch_dependence,
    output_mismatch,
    reduced_precision,
    unsoundness,
)
from porting.parity.noise import FACTOR
from porting.parity.pairing import JudgeRuns, TapPairing, pair_taps
from porting.parity.session import compare_taps
from porting.parity.verify import READINGS, verify_port
from porting.parity.weights import compare_weights
from porting.sources import Source

CHOOSING, HELD_OUT = 2, 2
"""How many images changes are chosen on, and how many the choice must hold on."""

_TRIALS = 96
"""Most combinations of changes that are tried of one piece."""


def diagnose_port(
    source: Source,
    match: Match,
    network: nn.Module,
    convention: InputConvention,
    pixels: Sequence[np.ndarray],
) -> Diagnosis:
    """Name what makes a port disagree with its source's judge, as far as it can be proved.

    ``pixels`` are images (H, W, C), 0..255: changes are chosen on the first two (or one of two or
    three), others are held out, and the mended copy is compared on all of them.

    Raises:
        MissingJudge: the judge's package is not installed.
        BadInput: there are fewer than two images, or the two sides do not fit.
    """
    if len(pixels) < 2:
        raise BadInput("a diagnosis needs two images: one to choose on and one that is held out")
    with torch.inference_mode(False):
        return _Engine(source, match, network, convention, pixels).run()


@dataclass(eq=False)
class _Examined:
    """A piece with the changes that are proposed for it, and what came of them."""

    piece: Piece
    weights: tuple[Hypothesis, ...]
    others: tuple[Hypothesis, ...]
    chosen: tuple[Hypothesis, ...] = ()
    trials: list[Trial] = field(default_factory=list)

    @property
    def tap(self) -> str:
        return self.piece.tap


class _Engine:
    """One diagnosis in progress; ``mended`` is the port with all that is proved so far mended."""

    def __init__(
        self, source: Source, match: Match, network: nn.Module, convention: InputConvention,
        pixels: Sequence[np.ndarray],
    ) -> None:  # fmt: skip
        self._start = time.monotonic()
        self._source, self._match, self._network = source, match, network
        self._convention, self._pixels = convention, list(pixels)
        self._judge_set = judges_of(source, match)
        half = max(1, len(self._pixels) // 2)
        chosen = (*self._pixels[: min(CHOOSING, half)], *self._pixels[half : half + HELD_OUT])
        self._images = [self._judged(image) for image in chosen]
        self._spare = self._pixels[half + HELD_OUT :][:HELD_OUT] or self._pixels[:1]
        self._own = match
        if match.architecture is not None and not isinstance(network, GenMobileNet):
            keys = layers_of(match.config).shapes()
            if not set(keys) <= {*network.state_dict()}:
                self._own = match_by_order(match, network) or match
        self._choosing = self._images[: min(CHOOSING, half)]
        self._held_out = self._images[len(self._choosing) :]
        self._pairing = self._paired()
        self.mended = copied(network)
        self._causes: list[NamedCause] = []

    def _judged(self, image: np.ndarray) -> JudgeRuns:
        inputs = self._convention.as_source_input(image[None])
        return JudgeRuns(image[None], inputs, (self._judge_set.judges[0].run(inputs),))

    def _paired(self) -> TapPairing:
        """The taps of both sides, paired on a copy that has the source's weights."""
        network = self._network
        if not isinstance(network, GenMobileNet):
            planned = self._planned()
            if planned is not None:
                network = copied(network)
                state = planned.state_dict()
                network.load_state_dict({**network.state_dict(), **state})
        pairing = pair_taps(self._judge_set, self._match, network, self._images[0])
        runner = pairing.runner.for_variant(self._network)
        flows = self._own.flows if self._own is not self._match else pairing.flows
        return replace(
            pairing, match=self._own, model=self._network, runner=runner, flows=flows
        )  # fmt: skip

    def _planned(self) -> PlannedValues | None:
        """What the plan gives for the port's keys; None where its keys are not the plan's."""
        match = self._own
        try:
            if match.architecture is None:
                planned = planned_values_onto(
                    match.plan, self._source, self._network, match.epsilons
                )
            else:
                planned = planned_values(
                    match.plan, self._source, match.config, self._convention.mean,
                    self._convention.std,
                )  # fmt: skip
        except BadInput:
            return None
        state = self._network.state_dict()
        fits = all(
            key in state and tuple(state[key].shape) == shape
            for key, shape in planned.shapes.items()
            if not key.endswith("num_batches_tracked")
        )
        return planned if fits else None

    def run(self) -> Diagnosis:
        """The whole diagnosis."""
        self._mend_strides()
        if self._causes:
            # Where shapes differ nothing can be compared as it is.
            return self._rest(None)
        before = self._compared(self._network, self._pixels[:CHOOSING])
        # Not even parity is proved on so few images; that it fails is.
        if before.first_bad is None and before.unsound is None:
            before = self._compared(self._network, self._pixels)
        if before:
            return self._diagnosis(before, None, ())
        return self._rest(before)

    def _rest(self, before: Comparison | None) -> Diagnosis:
        """What is left once the port's values have the judge's shapes."""
        if before is not None and before.unsound is not None:
            self._make_sound(self._choosing[0])
        self._runner = PieceRunner(self._pairing, self._choosing, self._held_out, self.mended)
        self._weights = compare_weights(self._source, self._own, self._network, self._convention)
        unexplained = self._examine_pieces()
        self._prove_strides()
        self._mend_output()
        after = self._compared(self.mended, self._pixels) if self._causes else None
        return self._diagnosis(before, after, tuple(unexplained))

    def _diagnosis(
        self, before: Comparison | None, after: Comparison | None,
        unexplained: tuple[Unexplained, ...],
    ) -> Diagnosis:  # fmt: skip
        return Diagnosis(
            before, tuple(self._causes), unexplained, after,
            self.mended if self._causes else None, self._notes(),
            0 if before else len(self._held_out), time.monotonic() - self._start,
        )  # fmt: skip

    def _compared(self, network: nn.Module, pixels: Sequence[np.ndarray]) -> Comparison:
        """All taps of a variant of the port, in all readings."""
        match, judge_set = self._match, self._judge_set
        if match.architecture is not None and not isinstance(network, GenMobileNet):
            # Once mended, a module may have the source's structure.
            with suppress(BadInput):
                drop = match.first_class > 0
                match = match_module(
                    self._source, network, match.model, match.plan.weight_set, drop
                )
                judge_set = judges_of(self._source, match)
        if network is self.mended:
            # What was answered otherwise is no description of a network: its taps alone count.
            return compare_taps(
                judge_set, match, network, self._convention, pixels, readings=READINGS,
                details=False,
            ).comparison  # fmt: skip
        return verify_port(
            self._source, match, network, self._convention, pixels, details=False,
            judge_set=judge_set,
        ).comparison  # fmt: skip

    # --- values of another shape ---

    def _mend_strides(self) -> None:
        """Give convolutions the source's strides, where their results have other sizes."""
        image, layers, pad = self._choosing[0], None, changes.same
        if self._match.architecture is not None:
            layers = layers_of(self._match.config)
            pad = changes.symmetric if self._match.config.padding == "symmetric" else pad
        steps = steps_of(self._pairing, layers)
        for _ in range(len(steps)):
            mismatch = self._first_of_another_size(self.mended, image)
            if mismatch is None:
                return
            tap, shape, expected = mismatch
            flow = None if tap not in steps else steps[tap].flow
            before = None if flow is None else image.taps.get(flow.entry, image.inputs)
            if flow is None or before is None or before.ndim != 4 or len(expected) != 4:
                return
            stride = -(-before.shape[1] // expected[2])
            own = -(-before.shape[1] // shape[2])
            place = flow.weight.removesuffix(".weight")
            change = changes.convolution(flow.weight, pad=pad, stride=stride)
            candidate = copied(self.mended)
            change(candidate)
            after = self._first_of_another_size(candidate, image)
            if after is not None and after[0] == tap:
                return
            self.mended = candidate
            hypothesis = Hypothesis(
                "stride", f"stride {own} for {stride}", place, change,
                f"{place} has stride {own} and not the source's {stride}",
                f"{place}: stride={stride}",
            )  # fmt: skip
            # What is left of it is measured once all values have the judge's sizes.
            self._name(hypothesis, (place,), 1, (Difference(tap, np.inf, np.inf, 0.0),), ())

    def _prove_strides(self) -> None:
        """Keep the strides with which their pieces agree, once all else of these is mended."""
        causes, self._causes = self._causes, []
        taps = {d.tap for cause in causes if cause.cause == "stride" for d in cause.differences}
        runner = self._runner
        errors = runner.errors(self.mended, runner.held_out, taps) if taps else {}
        for cause in causes:
            if cause.cause != "stride":
                self._causes.append(cause)
                continue
            differences = tuple(
                replace(d, after=errors[d.tap].relative, limit=errors[d.tap].limit)
                for d in cause.differences
                if d.tap in errors and errors[d.tap].agrees
            )
            if len(differences) == len(cause.differences):
                self._causes.append(replace(cause, differences=differences))

    def _first_of_another_size(
        self, network: nn.Module, image: JudgeRuns
    ) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
        """The first tap whose height or width is not the judge's: both shapes, (N, C, H, W)."""
        runner = self._pairing.runner.for_variant(network)
        data = self._pairing.port_input(image.inputs, image.pixels, image.taps)
        shapes = {tap: tuple(tensor.shape) for tap, tensor in runner.run(data).items()}
        for tap, judge in self._pairing.as_port(image.taps, shapes).items():
            if len(shapes[tap]) == judge.ndim == 4 and shapes[tap] != tuple(judge.shape):
                return tap, shapes[tap], tuple(judge.shape)
        return None

    # --- what has no noise that means anything ---

    def _make_sound(self, image: JudgeRuns) -> None:
        """Mend what makes the port's noise meaningless, by the first change that does."""
        if self._unsound(self.mended, image) is None:
            return  # its noise is only large: the pieces show why
        proposals = list(precision.hypotheses(self._pairing.flows))
        for count in (1, 2):
            for group in combinations(proposals, count):
                candidate = copied(self.mended)
                for hypothesis in group:
                    hypothesis.change(candidate)
                if self._unsound(candidate, image) is None:
                    difference = self._at_logits(candidate)
                    places = self._changed_pieces(candidate, image) or (group[0].place,)
                    self.mended = candidate
                    for hypothesis in group:
                        self._name(hypothesis, places, len(self._pairing.names), (difference,), ())
                    return

    def _changed_pieces(self, candidate: nn.Module, image: JudgeRuns) -> tuple[str, ...]:
        """The taps at which a copy gives something else than the port, fed the same before."""
        values = []
        data = self._pairing.port_input(image.inputs, image.pixels, image.taps)
        for network in (self._network, candidate):
            runner = self._pairing.runner.for_variant(network)
            shapes = {tap: tuple(v.shape) for tap, v in runner.run(data).items()}
            values.append(runner.run(data, self._pairing.as_port(image.taps, shapes)))
        return tuple(
            tap for tap, own in values[0].items()
            if not _alike(own, values[1][tap], 0.0)
        )  # fmt: skip

    def _at_logits(self, candidate: nn.Module) -> Difference:
        """The logits of the port as it is and of a copy against the judge's, held out."""
        tap = self._pairing.logits
        relatives, limit = [0.0, 0.0], 0.0
        for image in self._held_out:
            data = self._pairing.port_input(image.inputs, image.pixels, image.taps)
            for number, network in enumerate((self._network, candidate)):
                runner = self._pairing.runner.for_variant(network)
                values = runner.run(data)
                shapes = {name: tuple(tensor.shape) for name, tensor in values.items()}
                judge = self._pairing.as_port(image.taps, shapes)[tap]
                scale = float(judge.abs().max()) or 1.0
                distance = float((values[tap] - judge).abs().nan_to_num(nan=np.inf).max())
                relatives[number] = max(relatives[number], distance / scale)
                if network is candidate:
                    noise = float(runner.noise(data, values)[tap].max())
                    limit = max(limit, FACTOR * noise / scale)
        return Difference(tap, relatives[0], relatives[1], limit)

    # --- what is returned ---

    def _mend_output(self) -> None:
        """Return the logits, where the port returns something else that is made of them."""
        image = self._choosing[0]
        runner = self._pairing.runner.for_variant(self.mended)
        tap = self._pairing.logits
        data = self._pairing.port_input(image.inputs, image.pixels, image.taps)
        values = runner.run(data)
        if output_mismatch(runner, values, self._pairing.output_tap) is None:
            return
        output, logits = runner.output, values.get(tap)
        if output is None or logits is None or tap not in dict(self.mended.named_modules()):
            return
        rows = logits.flatten(1)
        variants = {
            "softmax for logits": rows.softmax(-1),
            "log-softmax for logits": rows.log_softmax(-1),
            "sigmoid for logits": rows.sigmoid(),
            "class offset": rows[:, 1:],
        }
        names = tuple(
            name for name, expected in variants.items()
            if expected.shape == output.flatten(1).shape
            and torch.allclose(expected, output.flatten(1), rtol=1e-4, atol=1e-7)
        )  # fmt: skip
        is_permuted = output.shape == logits.shape and torch.equal(
            output.flatten().sort().values, logits.flatten().sort().values
        )
        names = names or ("classes permuted" if is_permuted else "another output than the logits",)
        change = changes.returning(tap)
        candidate = copied(self.mended)
        change(candidate)
        runner = self._pairing.runner.for_variant(candidate)
        if output_mismatch(runner, runner.run(data), self._pairing.output_tap) is not None:
            return
        self.mended = candidate
        same_shape = output.flatten(1).shape == rows.shape
        before = float((output.flatten(1) - rows).abs().max()) if same_shape else np.inf
        scale = float(rows.abs().max()) or 1.0
        hypothesis = Hypothesis(
            names[0], names[0], "the network's forward", change,
            f"what it returns is not what {tap} gives, the source's logits: {names[0]}",
            f"return what {tap} gives",
        )  # fmt: skip
        self._name(
            hypothesis, (hypothesis.place,), 1, (Difference(tap, before / scale, 0.0, 0.0),), (),
        )  # fmt: skip

    def _unsound(self, network: nn.Module, image: JudgeRuns) -> str | None:
        runner = self._pairing.runner.for_variant(network)
        data = self._pairing.port_input(image.inputs, image.pixels, image.taps)
        values = runner.run(data)
        shapes = {tap: tuple(tensor.shape) for tap, tensor in values.items()}
        return (
            unsoundness(runner, data, values)
            or reduced_precision(values, self._pairing.as_port(image.taps, shapes))
            or batch_dependence(runner, data, values)
        )

    # --- pieces ---

    def _examine_pieces(self) -> list[Unexplained]:
        """Name the causes of all pieces that disagree by themselves; what is left is returned."""
        runner = self._runner
        base = runner.errors(self.mended, runner.choosing)
        held_out = runner.errors(self.mended, runner.held_out)
        failing = {
            tap: _worse(error, held_out.get(tap, error))
            for tap, error in base.items()
            if not error.agrees or not held_out.get(tap, error).agrees
        }
        isolated = True
        if not failing:
            # Each piece is within its noise, and what they add up to is not.
            isolated = False
            base = runner.errors(self.mended, runner.choosing, isolated=False)
            failing = {tap: error for tap, error in base.items() if not error.agrees}
        around = Surroundings(
            self.mended, runner, self._weights, self._planned(),
            None if self._match.architecture is None else layers_of(self._match.config),
            self._match.plan.weight_set, self._source,
        )  # fmt: skip
        if not isolated:
            return self._examine_spread(around, failing)
        pieces = [self._proposals(Piece(tap, error, around)) for tap, error in failing.items()]
        early = [item for item in pieces if not base[item.tap].agrees]
        self._choose(early)
        self._prove(early, failing)
        if late := [item for item in pieces if base[item.tap].agrees]:
            # Their error shows on the held-out inputs alone: choose on those, and hold out others.
            runner.turn([self._judged(image) for image in self._spare], self.mended)
            self._choose(late)
            self._prove(late, failing)
        # What one piece needs may mend another that has none of its own.
        rest = [item for item in pieces if not item.chosen]
        errors = runner.errors(self.mended, runner.choosing, [item.tap for item in rest])
        return [
            Unexplained(
                item.tap, self._pairing.names[item.tap], failing[item.tap].relative,
                failing[item.tap].limit, tuple(item.trials), (item.piece.fit.in_words(),),
            )
            for item in rest
            if not errors.get(item.tap, _UNMEASURED).agrees
        ]  # fmt: skip

    def _proposals(self, piece: Piece) -> _Examined:
        weights = tuple(FAMILIES[0].hypotheses(piece))
        others = tuple(h for family in FAMILIES[1:] for h in family.hypotheses(piece))
        return _Examined(piece, weights, others)

    def _choose(self, pieces: Sequence[_Examined]) -> None:
        """Choose for each piece the smallest set of changes with which it agrees.

        Pieces are independent: a pass tries one combination in each of them.
        """
        rounds = {item.tap: _combinations(item) for item in pieces}
        open_pieces = list(pieces)
        while open_pieces:
            attempts = {}
            for item in list(open_pieces):
                combination = next(rounds[item.tap], None)
                if combination is None:
                    open_pieces.remove(item)
                else:
                    attempts[item.tap] = combination
            errors = self._tried(attempts)
            for item in list(open_pieces):
                error, combination = errors[item.tap], attempts[item.tap]
                if error.agrees:
                    item.chosen = combination
                    open_pieces.remove(item)
                elif len(combination) == 1:
                    item.trials.append(
                        Trial(
                            combination[0].cause, combination[0].variant, combination[0].place,
                            Difference(
                                item.tap, item.piece.error.relative, error.relative, error.limit
                            ),
                        )
                    )  # fmt: skip

    def _tried(
        self, attempts: Mapping[str, Sequence[Hypothesis]], held_out: bool = False
    ) -> dict[str, PieceError]:
        """The errors of pieces, by tap, with changes carried out in all of them at once."""
        if not attempts:
            return {}
        candidate = copied(self.mended)
        for hypotheses in attempts.values():
            for hypothesis in hypotheses:
                hypothesis.change(candidate)
        runner = self._runner
        probes = runner.held_out if held_out else runner.choosing
        try:
            errors = runner.errors(candidate, probes, attempts)
        except (BadInput, RuntimeError):
            # Together they do not even run: one by one.
            if len(attempts) == 1:
                return dict.fromkeys(attempts, _UNMEASURED)
            return {
                tap: self._tried({tap: hypotheses}, held_out)[tap]
                for tap, hypotheses in attempts.items()
            }
        # What was not measured proves nothing.
        return {tap: errors.get(tap, _UNMEASURED) for tap in attempts}

    def _prove(self, pieces: Sequence[_Examined], failing: Mapping[str, PieceError]) -> None:
        """Keep what holds on the held-out inputs and is needed; carry it out and name it."""
        chosen = [item for item in pieces if item.chosen]
        errors = self._tried({item.tap: item.chosen for item in chosen}, held_out=True)
        for item in chosen:
            if not errors[item.tap].agrees:
                item.trials += [
                    Trial(
                        h.cause, h.variant, h.place,
                        Difference(
                            item.tap, item.piece.error.relative, errors[item.tap].relative,
                            errors[item.tap].limit,
                        ),
                    )
                    for h in item.chosen
                ]  # fmt: skip
                item.chosen = ()
        proved = [item for item in chosen if item.chosen]
        self._drop_what_is_not_needed(proved)
        differences = {
            item.tap: Difference(
                item.tap, failing[item.tap].relative, errors[item.tap].relative,
                errors[item.tap].limit,
            )
            for item in proved
        }  # fmt: skip
        variants = self._variants(proved)
        groups: dict[tuple[str, tuple[str, ...]], list[tuple[_Examined, Hypothesis]]]
        groups = defaultdict(list)
        for item in proved:
            for hypothesis in item.chosen:
                names = variants.get((item.tap, hypothesis.cause), (hypothesis.variant,))
                groups[hypothesis.cause, names].append((item, hypothesis))
        groups = {
            key: members for key, members in groups.items() if self._is_needed(proved, members)
        }
        for members in groups.values():
            for _, hypothesis in members:
                hypothesis.change(self.mended)
        for (_, names), members in groups.items():
            first = members[0][1]
            taps = dict.fromkeys(item.tap for item, _ in members)
            also = self._same_elsewhere(members)
            for hypothesis in also:
                hypothesis.change(self.mended)
            every = [*(h for _, h in members), *also]
            places = tuple(dict.fromkeys(h.place for h in every))
            keys = tuple(dict.fromkeys(key for h in every for key in h.keys))
            self._name(
                first, places, self._count_of(first), tuple(differences[tap] for tap in taps),
                keys, names,
            )  # fmt: skip

    def _is_needed(
        self, proved: Sequence[_Examined], members: Sequence[tuple[_Examined, Hypothesis]]
    ) -> bool:
        """Whether pieces disagree with everything mended but these changes.

        A change may reach beyond its piece: one that agrees by another's change has no cause.
        """
        own = {hypothesis for _, hypothesis in members}
        attempts = {item.tap: tuple(h for h in item.chosen if h not in own) for item in proved}
        errors = self._tried(attempts)
        return any(not errors[item.tap].agrees for item, _ in members)

    def _drop_what_is_not_needed(self, pieces: Sequence[_Examined]) -> None:
        """Leave out, one at a time, each change without which a piece agrees all the same."""
        # Each piece has a place of its own: where a change is dropped, the next takes its place.
        places = {item.tap: 0 for item in pieces}
        while attempts := {
            item.tap: item.chosen[: places[item.tap]] + item.chosen[places[item.tap] + 1 :]
            for item in pieces
            if 1 < len(item.chosen) > places[item.tap]
        }:
            on_choosing, on_held_out = self._tried(attempts), self._tried(attempts, held_out=True)
            for item in pieces:
                if item.tap not in attempts:
                    continue
                if on_choosing[item.tap].agrees and on_held_out[item.tap].agrees:
                    item.chosen = tuple(attempts[item.tap])
                else:
                    places[item.tap] += 1

    def _variants(self, pieces: Sequence[_Examined]) -> dict[tuple[str, str], tuple[str, ...]]:
        """By tap and cause, the emulations on a mended copy that give what the port gives."""
        names: dict[tuple[str, str], list[str]] = defaultdict(list)
        runner = self._runner
        emulating = [(item, h) for item in pieces for h in item.chosen if h.emulations]
        if not emulating:
            return {}
        # Everything else is mended; an emulation stands in the place of its change.
        rest = copied(self.mended)
        for item in pieces:
            for hypothesis in item.chosen:
                if not hypothesis.emulations:
                    hypothesis.change(rest)
        count = max(len(h.emulations) for _, h in emulating)
        refuted: set[tuple[str, str, str]] = set()
        for probe in runner.choosing:
            port = runner.values(rest, probe)
            for number in range(count):
                candidate, attempts = copied(rest), []
                for item, hypothesis in emulating:
                    entry = next(islice(hypothesis.emulations.items(), number, None), None)
                    if entry is None or (item.tap, hypothesis.cause, entry[0]) in refuted:
                        continue
                    entry[1](candidate)
                    attempts.append((item, hypothesis.cause, entry[0]))
                values: Mapping[str, Tensor] = {}
                with suppress(BadInput, RuntimeError):
                    values = runner.values(candidate, probe)
                for item, cause, variant in attempts:
                    if not _alike(port[item.tap], values.get(item.tap), item.piece.error.limit):
                        refuted.add((item.tap, cause, variant))
        for item, hypothesis in emulating:
            names[item.tap, hypothesis.cause] = [
                variant for variant in hypothesis.emulations
                if (item.tap, hypothesis.cause, variant) not in refuted
            ] or [hypothesis.variant]  # fmt: skip
        return {key: tuple(variants) for key, variants in names.items()}

    def _same_elsewhere(self, members: Sequence[tuple[_Examined, Hypothesis]]) -> list[Hypothesis]:
        """The same mistake in weights of pieces that agree all the same, as far as inputs show."""
        item, first = members[0]
        if not first.keys and first.cause != "batch-norm epsilon":
            return []
        named = {h.place for _, h in members}
        around = item.piece.around
        more = []
        for tap in self._pairing.names:
            piece = Piece(tap, _NONE, around)
            if tap in {i.tap for i, _ in members} or not piece.findings:
                continue
            more += [
                h for h in FAMILIES[0].hypotheses(piece)
                if h.cause == first.cause and h.variant == first.variant and h.place not in named
            ]  # fmt: skip
        return more

    def _count_of(self, hypothesis: Hypothesis) -> int:
        """How many places of its sort the port has."""
        flows = self._pairing.flows
        if hypothesis.cause in ("batch-norm epsilon", "batch norm in training mode"):
            return sum(flow.norm is not None for flow in flows)
        suffix = hypothesis.place.rpartition(".")[2]
        state = self._network.state_dict()
        if hypothesis.place in state:
            axes = state[hypothesis.place].ndim > 1
            return sum(
                key.rpartition(".")[2] == suffix and (v.ndim > 1) == axes
                for key, v in state.items()
            )
        if hypothesis.cause == "padding":
            return sum(
                key.endswith("weight") and v.ndim == 4 and tuple(v.shape[2:]) != (1, 1)
                for key, v in state.items()
            )
        if hypothesis.cause == "activation":
            return sum(bool(flow.clamped) for flow in flows)
        return 1

    def _examine_spread(
        self, around: Surroundings, failing: Mapping[str, PieceError]
    ) -> list[Unexplained]:
        """Name what no piece shows by itself: small differences that add up."""
        groups: dict[tuple[str, str], list[Hypothesis]] = defaultdict(list)
        seen: set[str] = set()
        for tap in self._pairing.names:
            for hypothesis in FAMILIES[0].hypotheses(Piece(tap, failing.get(tap, _NONE), around)):
                if hypothesis.place not in seen:
                    seen.add(hypothesis.place)
                    groups[hypothesis.cause, hypothesis.variant].append(hypothesis)
        candidate = copied(self.mended)
        for members in groups.values():
            for hypothesis in members:
                hypothesis.change(candidate)
        runner = self._runner
        after = runner.errors(candidate, runner.held_out, isolated=False)
        before = runner.errors(self.mended, runner.held_out, isolated=False)
        worst = max(failing, key=lambda tap: failing[tap].ratio, default=None)
        if groups and worst is not None and all(error.agrees for error in after.values()):
            self.mended = candidate
            for members in groups.values():
                difference = Difference(
                    worst, before[worst].relative, after[worst].relative, after[worst].limit
                )
                keys = tuple(dict.fromkeys(key for h in members for key in h.keys))
                self._name(
                    members[0], tuple(h.place for h in members), self._count_of(members[0]),
                    (difference,), keys,
                )  # fmt: skip
            return []
        return [
            Unexplained(
                worst, self._pairing.names[worst], failing[worst].relative, failing[worst].limit,
                (), ("no piece is off by itself: small differences add up",),
            )
        ] if worst is not None else []  # fmt: skip

    def _name(
        self, first: Hypothesis, places: tuple[str, ...], of: int,
        differences: tuple[Difference, ...], keys: tuple[str, ...],
        variants: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        cause = NamedCause(
            first.cause, variants or (first.variant,), first.sentence, EXPLANATIONS[first.cause],
            first.remedy, places, of, differences, keys,
        )  # fmt: skip
        for number, other in enumerate(self._causes):
            if (other.cause, other.variants) == (cause.cause, cause.variants):
                self._causes[number] = replace(
                    other, places=tuple(dict.fromkeys((*other.places, *places))),
                    differences=(*other.differences, *differences),
                    keys=tuple(dict.fromkeys((*other.keys, *keys))),
                )  # fmt: skip
                return
        self._causes.append(cause)

    def _notes(self) -> tuple[str, ...]:
        """What differs without an effect in evaluation."""
        momenta = {
            float(part.momentum)
            for part in self._network.modules()
            if isinstance(part, nn.BatchNorm2d) and part.momentum is not None
        }
        notes = []
        if any(momentum > 0.5 for momentum in momenta):
            value = max(momenta)
            notes.append(
                f"the batch norms' momentum is {value:g}, as TensorFlow counts it; PyTorch's is "
                f"{1 - value:.3g}. It has no effect in evaluation, and ruins the statistics in "
                "training"
            )
        return tuple(notes)


_NONE, _UNMEASURED = PieceError(0.0, 0.0, 0.0), PieceError(np.inf, 0.0, np.inf)


def _alike(port: Tensor, other: Tensor | None, limit: float) -> bool:
    """Whether an emulation gives what the port gives, but for rounding over the port's scale."""
    if other is None or port.shape != other.shape:
        return False
    # Ten limits: the port's values, and so their noise, may be larger than the judge's.
    scale = float(port.nan_to_num().abs().max())
    return float((port - other).nan_to_num().abs().max()) <= max(10 * limit, 1e-6) * scale


def _combinations(item: _Examined) -> Iterator[tuple[Hypothesis, ...]]:
    """Sets of changes to try of a piece, the likeliest first.

    What is wrong in its weights is known, so all of that goes first; then one change beside it,
    then two.
    """
    weights, others = item.weights, item.others

    def all_of() -> Iterator[tuple[Hypothesis, ...]]:
        if weights:
            yield weights
        for one in others:
            yield (one,)
        if weights:
            for one in others:
                yield (*weights, one)
        for two in combinations(others, 2):
            if two[0].cause != two[1].cause:
                yield (*weights, *two)

    return islice(all_of(), _TRIALS)


def _worse(one: PieceError, other: PieceError) -> PieceError:
    return other if other.ratio > one.ratio else one
