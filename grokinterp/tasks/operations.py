"""Binary operations as tables, with their tokens and, if there is one, their group."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from grokinterp import arguments
from grokinterp.tasks import groups
from grokinterp.tasks.groups import Group


Operation = Literal[
    "addition",
    "subtraction",
    "multiplication",
    "division",
    "x2+y2",
    "x2+xy+y2",
    "x2+xy+y2+x",
    "x3+xy",
    "x3+xy+y2",
    "x3+xy2+y",
    "addition_or_subtraction",
    "addition_or_multiplication",
    "division_or_subtraction",
    "s5",
    "s5_conjugate",
    "s5_xyx",
    "random",
]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

_FORMULAS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "addition": lambda x, y: x + y,
    "subtraction": lambda x, y: x - y,
    "multiplication": lambda x, y: x * y,
    "x2+y2": lambda x, y: x**2 + y**2,
    "x2+xy+y2": lambda x, y: x**2 + x * y + y**2,
    "x2+xy+y2+x": lambda x, y: x**2 + x * y + y**2 + x,
    "x3+xy": lambda x, y: x**3 + x * y,
    "x3+xy+y2": lambda x, y: x**3 + x * y + y**2,
    "x3+xy2+y": lambda x, y: x**3 + x * y**2 + y,
    "addition_or_subtraction": lambda x, y: torch.where(x % 2 == 0, x + y, x - y),
    "addition_or_multiplication": lambda x, y: torch.where(x % 2 == 0, x + y, x * y),
}
# Formulas of the operations in S_5, for task names.
IN_S5: Final[dict[Operation, str]] = {"s5": "product", "s5_conjugate": "x y x^-1", "s5_xyx": "x y x"}
# Names from other projects with a different spelling, for suggestions.
OTHER_NAMES: Final[dict[str, Operation]] = {
    "+": "addition",
    "-": "subtraction",
    "*": "multiplication",
    "/": "division",
    "+-": "addition_or_subtraction",
    "+*": "addition_or_multiplication",
    "mul": "multiplication",
    "composition": "s5",
    "permutation": "s5",
    "s5aba": "s5_xyx",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A table of answers, and its group structure if known.

    The model reads the tokens `[a_tokens[a], b_tokens[b], n_tokens]`, where `n_tokens` is the token of '=', and should
    answer `table[a, b]`.

    Attributes:
        name: Name of the task, e.g. `addition mod 113`.
        table: The correct output class of each pair.
        n_outputs: Number of output classes, including classes that are never correct.
        n_tokens: Number of operand tokens, without '='.
        a_tokens: Token of each first operand.
        b_tokens: Token of each second operand.
        group: The group whose product (or quotient) the operation is; None if there is none.
        elements: Token and output class of each group element; None without a group.

    Raises:
        ValueError: If the name is empty, an answer is not an output class, the tokens do not match the table, or the
            table is not the group's operation.
    """

    name: str
    table: Int[Tensor, "a b"] = field(repr=False)
    n_outputs: int
    n_tokens: int
    a_tokens: Int[Tensor, " a"] = field(repr=False)
    b_tokens: Int[Tensor, " b"] = field(repr=False)
    group: Group | None = None
    elements: Int[Tensor, " n"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _is_text(self.name):
            msg = f"the name of a task must be text such as 'a + 2b mod 7', got {arguments.shown(self.name)}."
            raise ValueError(msg)
        if self.table.min() < 0 or self.table.max() >= self.n_outputs:
            msg = (
                f"every answer of {self.name} must be in 0..{self.n_outputs - 1}, "
                f"got {int(self.table.min())}..{int(self.table.max())}; raise n_outputs."
            )
            raise ValueError(msg)
        if self.table.shape != (len(self.a_tokens), len(self.b_tokens)):
            msg = (
                f"the table of {self.name} must have one row per a token and one column per b token, got shape "
                f"{tuple(self.table.shape)} for {len(self.a_tokens)} and {len(self.b_tokens)} tokens."
            )
            raise ValueError(msg)
        tokens = torch.cat([self.a_tokens, self.b_tokens])
        if tokens.min() < 0 or tokens.max() >= self.n_tokens:
            msg = (
                f"every token of {self.name} must be in 0..{self.n_tokens - 1}, "
                f"got {int(tokens.min())}..{int(tokens.max())}; raise n_tokens."
            )
            raise ValueError(msg)
        if (self.group is None) != (self.elements is None):
            msg = f"{self.name} must have both a group and its elements, or neither."
            raise ValueError(msg)
        if self.group is not None and self.elements is not None:
            self._check_group(self.group, self.elements)

    def _check_group(self, group: Group, elements: Int[Tensor, " n"]) -> None:
        """Each element is a token and an output class, and the table is the group's product or quotient."""
        is_distinct = len(elements) == group.order == len({int(x) for x in elements}) and elements.min() >= 0
        if not is_distinct or elements.max() >= self.n_tokens or self.n_outputs != self.n_tokens:
            msg = (
                f"each of the {group.order} group elements of {self.name} must be a token and an output class, got "
                f"{len(elements)} elements, {self.n_tokens} tokens and {self.n_outputs} outputs."
            )
            raise ValueError(msg)
        index = torch.full((self.n_tokens,), -1)
        index[elements] = torch.arange(group.order)
        a, b = index[self.a_tokens], index[self.b_tokens]
        answers = self.table[a >= 0][:, b >= 0]
        a, b = a[a >= 0], b[b >= 0]
        product, quotient = (elements[group.table[a][:, c]] for c in (b, group.inverses[b]))
        if not (torch.equal(answers, product) or torch.equal(answers, quotient)):
            msg = (
                f"the table of {self.name} must be the product or quotient in its group {group.name}, got a different "
                "table; leave the group out."
            )
            raise ValueError(msg)

    @property
    def d_vocab(self) -> int:
        """Number of input tokens, including '='."""
        return self.n_tokens + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of first and second operands."""
        return (len(self.a_tokens), len(self.b_tokens))

    def require_group(self) -> tuple[Group, Int[Tensor, " n"]]:
        """The group and its elements.

        Raises:
            ValueError: If the task has no group, or its group has no frequencies.
        """
        if self.group is None or self.elements is None:
            msg = (
                f"this analysis requires a group operation, got {self.name!r}, which has no group; if it is the "
                "product or quotient in a group, pass dataclasses.replace(task, group=gi.Group(...), elements=...)."
            )
            raise ValueError(msg)
        if self.group.order < 2:
            msg = f"this analysis requires a group with frequencies, got {self.name!r}, whose group has one element."
            raise ValueError(msg)
        return self.group, self.elements


def as_task(task: object) -> Task:
    """The argument, checked to be a Task.

    Raises:
        TypeError: If it is not, e.g. the name of an operation, which lacks the modulus.
    """
    if isinstance(task, Task):
        return task
    name = task if isinstance(task, str) and task in OPERATIONS else "addition"
    msg = f"task must be a Task, such as gi.tasks.operation({name!r}, p), got {arguments.shown(task)}."
    raise TypeError(msg)


def operation(name: Operation, p: int, *, seed: int = 0) -> Task:
    """An operation on the residues modulo p, or in S_5, by name.

    Division leaves out b = 0, so its table has p - 1 columns. Multiplication and division have the group of units if p
    is prime; addition and subtraction have Z_p for every p; `s5` has S_5.

    | name | answer |
    |---|---|
    | `x3+xy2+y` | x^3 + x y^2 + y; the other polynomials are named likewise |
    | `addition_or_subtraction` | x + y if x is even, else x - y |
    | `addition_or_multiplication` | x + y if x is even, else x y |
    | `division_or_subtraction` | x / y if y is odd, else x - y |
    | `s5`, `s5_conjugate`, `s5_xyx` | x y, x y x^-1, x y x for permutations x and y of five elements |
    | `random` | random answers |

    Args:
        name: One of `OPERATIONS`.
        p: The modulus; ignored in S_5, whose 120 permutations are the tokens.
        seed: Seed of the answers of `random`; ignored otherwise.

    Returns:
        The task.

    Raises:
        ValueError: If the name is unknown, p is below 2, or division modulo p is not defined.

    Source:
        Power et al. 2022, arXiv:2201.02177, appendix A.1.1, at p = 97; `x3+xy+y2` and the operations with a condition
        on x are in their code only, `grok/data.py` of openai/grok. Differs: that code applies the left one of two
        permutations first; replacing each permutation by its inverse turns its tables into the tables here.

    Examples:
        >>> operation("division", 5).table[3].tolist()
        [3, 4, 1, 2]
    """
    name = arguments.one_of(name, OPERATIONS, "operation", aliases=OTHER_NAMES)
    p, seed = arguments.integer(p, "p", minimum=2), arguments.seed(seed)
    if name in IN_S5:
        return _in_s5(name)
    x = torch.arange(p)
    group, elements, y = None, None, x
    if name == "division":
        if not _is_prime(p):
            msg = f"p must be prime for division, got p={p}; use multiplication or a prime p."
            raise ValueError(msg)
        y = x[1:]
        table = x[:, None] * _inverses(p)[y] % p
    elif name == "division_or_subtraction":
        if any(math.gcd(odd, p) > 1 for odd in range(1, p, 2)):
            msg = (
                "p must be prime or a power of 2 for division_or_subtraction, which divides by every odd y, got "
                f"p={p}; use addition_or_subtraction or a prime p."
            )
            raise ValueError(msg)
        table = torch.where(y % 2 == 1, x[:, None] * _inverses(p)[y], x[:, None] - y) % p
    elif name == "random":
        generator = torch.Generator().manual_seed(seed)
        table = torch.randint(p, (p, p), generator=generator)
    else:
        table = _FORMULAS[name](x[:, None], y[None, :]) % p
    if name in ("addition", "subtraction"):
        group, elements = groups.cyclic(p), x
    elif name in ("multiplication", "division") and _is_prime(p):
        group, elements = groups.units(p), x[1:]
    title = f"{name} mod {p}"
    return Task(
        name=title, table=table, n_outputs=p, n_tokens=p, a_tokens=x, b_tokens=y, group=group, elements=elements
    )


def from_group(group: Group) -> Task:
    """The task of multiplying two elements of a group.

    Examples:
        >>> from_group(groups.symmetric(5)).d_vocab
        121
    """
    x, n, name = torch.arange(group.order), group.order, f"product in {group.name}"
    return Task(name=name, table=group.table, n_outputs=n, n_tokens=n, a_tokens=x, b_tokens=x, group=group, elements=x)


def from_table(table: Any, *, name: str) -> Task:
    """A task from a table of answers; tokens are the row and column numbers.

    If the table is the product or quotient of a group, under any labeling of its elements, the task gets that group
    and analyses by frequency apply. A zero, as in multiplication modulo p, is not a group element.

    Args:
        table: The answer to each pair [a, b], integers from 0: nested lists or tuples, a numpy array or a tensor.
        name: Name of the task.

    Raises:
        ValueError: If the table is not rectangular, or an answer is not an integer from 0.

    Examples:
        >>> from_table([[0, 1], [1, 1]], name="or").n_outputs
        2
        >>> from_table([[1, 2, 0], [2, 0, 1], [0, 1, 2]], name="a + b + 1 mod 3").group.name
        'Z_3'
    """
    answers = _as_answers(table)
    n_outputs, (a, b) = int(answers.max()) + 1, (torch.arange(n) for n in answers.shape)
    task = Task(name=name, table=answers, n_outputs=n_outputs, n_tokens=max(answers.shape), a_tokens=a, b_tokens=b)
    return _with_group(task) if answers.shape == (n_outputs, n_outputs) else task


def _as_answers(table: Any) -> Int[Tensor, "a b"]:
    try:
        rows = table.tolist() if hasattr(table, "tolist") else table
        answers = torch.tensor([[arguments.integer(x, "answer", minimum=0) for x in row] for row in rows])
    except (ValueError, TypeError, RuntimeError):  # not integers, not rows, or rows of unequal length
        answers = torch.empty(0)
    if not answers.numel():
        msg = (
            "table must be a rectangle of integers from 0, with one row per a and one column per b, got "
            f"{arguments.shown(table)}."
        )
        raise ValueError(msg)
    return answers


def _with_group(task: Task) -> Task:
    """The task with its group, if the table is a group's product or quotient."""
    tokens = task.a_tokens
    is_zero = (task.table == tokens[:, None]).all(dim=1) & (task.table == tokens).all(dim=0)
    elements = tokens[~is_zero]
    if len(elements) < 2:  # a group without frequencies
        return task
    index = torch.full((len(tokens),), -1)
    index[elements] = torch.arange(len(elements))
    product = index[task.table[elements][:, elements]]
    # The diagonal of a quotient a / b is the identity e, and a / (e / b) is the product.
    for candidate in (product, product[:, product[product[0, 0]]]):
        try:
            return replace(task, group=groups.from_cayley(candidate), elements=elements)
        except ValueError:
            continue
    return task


def _in_s5(name: Operation) -> Task:
    product = from_group(groups.symmetric(5))
    if name == "s5":
        return product
    group, x = product.require_group()
    right = group.inverses if name == "s5_conjugate" else x
    return replace(
        product,
        name=f"{IN_S5[name]} in {group.name}",
        table=group.table[group.table, right[:, None]],
        group=None,
        elements=None,
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _inverses(p: int) -> Int[Tensor, " p"]:
    """The inverse of each residue, 0 if it has none."""
    return torch.tensor([pow(x, -1, p) if math.gcd(x, p) == 1 else 0 for x in range(p)])


def _is_prime(n: int) -> bool:
    return n >= 2 and all(n % d for d in range(2, int(n**0.5) + 1))
