"""`Linear` as its template linear.j2 sees it: dots or blocks, loops, and the list behind a gate."""

from __future__ import annotations

from functools import cached_property

from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import Tile, index
from nn4mc_codegen.printing.linear_blocks import BlockedLinear
from nn4mc_codegen.printing.linear_dots import Dots, dots_of
from nn4mc_codegen.printing.linear_loops import SumLoop, sum_loops
from nn4mc_codegen.printing.linear_operands import operand_lines
from nn4mc_codegen.printing.registers import (
    BODY_MACS,
    LARGE_WEIGHTS,
    NEAR,
    READ_AT_ONCE_MIN,
    STRAIGHT_INPUTS,
    STRAIGHT_MACS,
)


class PrintedLinear(BlockedLinear):
    """A `Linear` with what is computed before and after it."""

    @cached_property
    def dots(self) -> list[Dots]:
        return dots_of(self)

    def loops(self, rows: Tile, outputs: Tile, body: int = 0) -> list[SumLoop]:
        """The loops that make a block's sums, each of at most `body` multiply-accumulates a turn,
        by default what suits the mode."""
        shorter = body
        if body == 0:
            large = self.head.W.size > LARGE_WEIGHTS and len(self.head.x) == 1
            body = BODY_MACS["balanced" if large and self.mode == "speed" else self.mode]
            shorter = min(body, BODY_MACS["balanced"])
        W = self.head.W[outputs.begin : outputs.end]
        x = self.head.x[rows.begin : rows.end]
        sums = rows.size * outputs.size
        found: list[SumLoop] = []
        for begin, end in self.locator.spans(W, x):
            (W_access,) = self.locator.single([W[:, begin:end]])
            if self.feed is None:
                (x_access,) = self.locator.single([x[:, begin:end]])
            else:  # `packed`: the rows of one column after the other
                x_access = Access(self.feed.result, rows.begin, 1, len(self.head.x))
            if not self.is_zero(W_access):
                limit = self._inputs_of_turn(end - begin, rows.size, sums, body, shorter, x_access)
                found += sum_loops(self, rows, outputs, end - begin, limit, W_access, x_access)
        return found

    def _inputs_of_turn(
        self, length: int, rows: int, sums: int, body: int, shorter: int, x: Access
    ) -> int:
        """Most inputs of a turn, by the multiply-accumulates of a body; more than those of a
        shorter body only where they pay."""
        limit, least = body // sums, shorter // sums
        few = rows == 1 and length <= STRAIGHT_INPUTS
        if limit > least and length * sums > STRAIGHT_MACS and not few:
            near = (NEAR - (rows - 1) * x.row_step) // max(x.step, 1) + 1
            limit = max(least, min(limit, length // 2, near))
        return limit

    # ------------------------------------------------------------------ what is switched on
    #
    # Behind a gate a first loop lists in `active` which inputs are switched on, a second one goes
    # over that list. Of inputs 0 … 4 with h = [0, 0.7, 0, 0, 0.2]:
    #
    #     active = 1, 4                 numbers of inputs, or with a feed pointers to their weights
    #     packed = x[·, 1], x[·, 4]     only with a feed, which computes these columns alone

    @property
    def listed(self) -> str:
        """What the list `active` holds of input i: its number, or with a feed the pointer to its
        weights, as its operands are found by their place in `packed`."""
        if self.feed is None:
            return "i"
        (W,) = self.locator.single([self.head.W])
        return f"{self.code.floats(W.array)} + {index(W.start, (W.step, 'i'))}"

    @property
    def feed_operands(self) -> list[str]:
        """Statements that load or compute what the feed multiplies."""
        return operand_lines(self, self.feed, 0, self.feed.x.shape[1])

    @property
    def feed_statements(self) -> list[str]:
        """Statements that make column i of the feed's result the next one of `packed`."""
        rows, inputs = self.feed.x.shape
        (W,) = self.locator.single([self.feed.W])
        at = index(W.start, (W.row_step, "i"))
        lines = [f"const float *W = {self.code.floats(W.array)} + {at};"]
        at_once = W.step == 1 and inputs >= READ_AT_ONCE_MIN
        if at_once:
            # The element that fills the row up to an even length is read as well.
            width = inputs + (W.row_step == inputs + 1)
            lines.append(f"{self.code.read_weights(width)}(W);")
            lines += [f"(void)w{inputs};"] * (width > inputs) + ["(void)W;"]
        for q in range(inputs):
            w = f"w{q}" if at_once else f"W[{q * W.step}]"
            for a in range(rows):
                lines.append(self.term(f"s{a}" if q else f"float s{a}", w, f"h{a}_{q}", q == 0))
        target = [index(a, (rows, "count")) for a in range(rows)]
        return [*lines, *(f"packed[{at}] = s{a};" for a, at in enumerate(target))]
