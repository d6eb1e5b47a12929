"""Follows the life of every storage that ops make, and with it the level of allocated bytes."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Container, Iterable, Mapping
from string import digits
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ....errors import CostmodelError
from ....graph.dry import KernelCall
from .adding import Adding
from .calls import call_of
from .flops import FlopCounter, is_composed
from .kept import NUMBER_BYTES, ON_A_VIEW
from .on_the_cpu import on_the_cpu

aten = torch.ops.aten
device_of = torch.ops.prim.device.default
lift_fresh = aten.lift_fresh.default  # of a tensor that Python has just made
#: Ops that do something else without data, or whose FLOPs are not known: fused cells and Transformer layers,
#: products along an axis, transforms, complex numbers.
NOT_FOLLOWED = {
    getattr(aten, name)
    for name in (
        "_thnn_fused_lstm_cell", "_transformer_encoder_layer_fwd", "_native_multi_head_attention",
        "_trilinear", "cumprod", "prod", "_fft_r2c", "_fft_c2r", "_fft_c2c", "view_as_complex",
        "_embedding_bag", "_sparse_mm", "_sparse_addmm",
    )
    if hasattr(aten, name)
}  # fmt: skip
#: Ops by which autograd's nodes write into a tensor that they have made.
WRITING = frozenset({aten.index_put, aten.index_add, aten.index_fill, aten.scatter, aten.scatter_add, aten.masked_fill,
                     aten.masked_scatter, aten.logical_and})  # fmt: skip
#: More of them, by the node.
WRITING_IN = {"BinaryCrossEntropyWithLogitsBackward": WRITING | {aten.sub, aten.mul}}
#: What an op raises whose result is data, or has a size that depends on data.
ASK_FOR_DATA = (DataDependentOutputException, DynamicOutputShapeException)
#: Nodes that never do: those of reductions at indices, which read once more what they have made.
NOT_WRITING = frozenset({"ScatterReduceBackward", "IndexReduceBackward"})
#: Ops that nodes run only without data, by the node. A gradient shared by all elements as large as the result goes to
#: those that equal it; without data, NaNs are looked for among all. The halves of the matrix that is exponentiated are
#: written into it, not made (evenly_distribute_backward, differential_analytic_matrix_function in FunctionsManual.cpp).
ONLY_WITHOUT_DATA = {
    **dict.fromkeys(("MaxBackward", "MinBackward", "MedianBackward", "NanmedianBackward"), {aten.isnan}),
    "LinalgMatrixExpBackward": {aten.cat, aten.zeros_like},
}
#: What an op raises that cannot run without data.
NEED_DATA = (*ASK_FOR_DATA, UnsupportedOperatorException)
SCALED = (aten.mul.Tensor, aten.div.Tensor, aten.mul_.Tensor, aten.div_.Tensor)
WITH_NUMBER = {*SCALED, aten.add.Tensor, aten.sub.Tensor, aten.add_.Tensor, aten.sub_.Tensor}
WRAPPERS = ("eval_frame.py", "_compile.py", "lives.py")  # of a dispatch mode
PACKING = "pack_hook"  # the Python function by which torch.utils.checkpoint sees what is kept
ENGINE = "_engine_run_backward"  # the Python function that runs autograd's engine


class Last(NamedTuple):
    """An op that has run: the level after it, the place in Python code, bytes of the storages made, by address.

    stops: whether a second run stops in it.
    """

    level: int = 0
    place: tuple[int, int, int] | None = None
    made: Mapping[int, int] = {}
    stops: bool = False

    def at_its_end(self, alive: Container[int]) -> int:
        """The level when the op ends. alive: addresses of storages; where it stops, the others were never given out."""
        return self.level - (sum(size for at, size in self.made.items() if at not in alive) if self.stops else 0)


class Lives(TorchDispatchMode):
    """The level of the bytes that ops have allocated and nobody has freed, and its highest value after an op.

    there: tensors that are there before the step. flops: counts the ops too. ops: name and output shapes of each op.
    calls: of kernels whose memory formats matter. asked: what asked for data that is not there, whoever caught the
    error. crashes: whether a real step ends the process.

    Autograd adds a second gradient of a value into the first one if nobody else holds that, and some of its nodes write
    into what they have made: the gradient of an indexed part into zeros, say. It does neither for tensors without data,
    but makes another tensor and drops the first (can_accumulate_inplace in torch/csrc/autograd/input_buffer.cpp,
    areAnyTensorSubclassLike in FunctionsManual.cpp). So a sum counts as made in place in the backward pass if its first
    operand is gone when the next op comes, and was no view, which shares its storage with its base; and where a node
    would write, the op in place runs. A linear layer that reads rows with gaps adds its bias to the product in place
    (aten/src/ATen/native/Linear.cpp), as do other functions of torch: `adding` knows them. Inside recurrent functions,
    whose layers it does not see, the sum that comes right after the product counts as one in place.
    """

    def __init__(self, there: Iterable[torch.Tensor], flops: FlopCounter | None = None) -> None:
        super().__init__()
        self.flops = flops
        self.adding = Adding()
        self.level = self._peak = 0
        self.in_backward = False
        self.ops: list[tuple[Any, ...]] = []
        self.calls: set[KernelCall] = set()
        self.asked, self.crashes = "", False
        self._numbers = 0  # bytes of Python numbers that products of the forward pass keep
        self._alive: dict[int, Any] = {}  # by address: a storage's weak reference, or one that nothing has made
        self._before: set[int] = set()  # addresses of storages that earlier steps have made
        self._node: Any = None  # autograd's node that runs
        self._made: set[int] = set()  # addresses of the storages of its results
        self._sum: tuple[int, int] | None = None  # (address of the first operand, level) after the last op, if a sum
        self._last = Last()  # the last op, unless it is a sum
        self._product: Any = None  # (address, place) of the last op's result, if it was a product of matrices
        for tensor in there:
            self.there(tensor)

    @property
    def peak(self) -> int:
        """The highest level after an op."""
        self._settle()
        return self._peak

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func is device_of:
            return func(*args)
        if is_composed(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        if func.overloadpacket in NOT_FOLLOWED:
            raise CostmodelError(f"what {func.overloadpacket} keeps and makes is not known without data")
        self._settle(saves=func is aten.detach.default)
        by_engine = self.in_backward and by_autograd()
        if by_engine:
            func = self._as_written(func, args)
        elif func is aten.add.Tensor and self.adding.runs:
            func = aten.add_.Tensor
        if func.overloadpacket is aten.native_group_norm_backward and args[1].dim() == 4:
            self.crashes |= not args[-1][0] and not args[1].is_contiguous()
        call = call_of(func, args)
        if call is not None:
            self.calls.add(call)
        try:
            result = on_the_cpu(func, args, kwargs or {})
        except NEED_DATA as error:
            self.asked = f"{func.overloadpacket} asks for data ({type(error).__name__})"
            raise
        if self.flops is not None:
            self.flops.count(func, args, result)
        made = [value for value in tree_leaves(result) if isinstance(value, torch.Tensor)]
        self.ops.append((func, *(tensor.shape for tensor in made)))
        new = {_storage_of(x): x.untyped_storage().nbytes() for x in made if _storage_of(x) not in self._alive}
        left_out = by_engine and _is_only_without_data(self._node, func, args)
        for tensor in made:
            if left_out:
                self.there(tensor)
            elif func is not lift_fresh and args and isinstance(args[0], torch.Tensor):
                self._there_already(args[0], tensor, func)
            self.follow(tensor)
            self._made.add(_storage_of(tensor))
        passing = self._number(func, args)
        of_a_layer = not by_engine and self._is_of_a_layer(func, args)
        if of_a_layer or self._is_of_the_engine(by_engine, func, args):
            self._sum = _storage_of(args[0]), self.level
        elif func is not aten.detach.default:
            self._last = Last(self.level + passing, place(), new)
        return result

    def _as_written(self, func: Any, args: tuple) -> Any:
        """The op that autograd's engine would run on real tensors in an op's place."""
        node = torch._C._current_autograd_node()
        if node is not self._node:
            self._node = node
            self._made.clear()
        name = _name_of(self._node)
        # An in-place op on a view makes a copy of the gradient for the formula, which writes into a copy too.
        if func.overloadpacket not in WRITING_IN.get(name, WRITING) or name == ON_A_VIEW or name in NOT_WRITING:
            return func
        if not isinstance(args[0], torch.Tensor) or _storage_of(args[0]) not in self._made or _outgrows(*args[:2]):
            return func
        return getattr(getattr(aten, f"{func.overloadpacket.__name__}_"), func._overloadname)

    def _is_of_a_layer(self, func: Any, args: tuple) -> bool:
        """Whether an op adds a layer's bias: to a product of matrices, before Python goes on."""
        before = self._product
        self._product = None
        if func is aten._unsafe_view.default:
            self._product = _storage_of(args[0]), place()
        return self.adding.recurs and func is aten.add.Tensor and before == (_storage_of(args[0]), place())

    def _is_of_the_engine(self, by_engine: bool, func: Any, args: tuple) -> bool:
        """Whether an op adds a gradient to that which came first."""
        return by_engine and func is aten.add.Tensor and _is_its_own(*args) and not self._is_of_the_formula(args[0])

    def _is_of_the_formula(self, first: torch.Tensor) -> bool:
        """Whether a sum is one of the running node's own: it has made the first operand, and passes no two gradients to
        the same place.
        """
        places = self._node.next_functions if self._node is not None else ()
        return _storage_of(first) in self._made and len({*places}) == len(places)

    def stop(self) -> None:
        """What is checkpointed stops to run again. An op that keeps its results does so before anybody gets them.

        Other ops stop before they run, and leave the level after the last op as it was.
        """
        self._last = self._last._replace(stops=self._last.place == place())

    def _settle(self, saves: bool = False) -> None:
        """Count the level after the last op, and at a sum, unless its first operand is gone. saves: autograd saves what
        an op has made.
        """
        if not saves:
            self._peak, self._last = max(self._peak, self._last.at_its_end(self._alive)), Last()
        if self._sum is not None:
            first, level = self._sum
            self._peak = max(self._peak, self.level if first not in self._alive else level)
            self._sum = None

    def _number(self, func: Any, args: tuple) -> int:
        """Bytes of the tensor that Python makes of an op's number, which lives until the op returns.

        A product keeps it for its backward pass; then it counts in the level. The dispatcher does not see it.
        """
        if func not in WITH_NUMBER or not isinstance(args[1], (int, float)):
            return 0
        if self.in_backward and by_autograd():  # a kept number, in a formula
            return 0
        if func in SCALED and args[0].requires_grad and torch.is_grad_enabled() and not self.in_backward:
            self._numbers += NUMBER_BYTES
            self.level += NUMBER_BYTES
            self._peak = max(self._peak, self.level)
            return 0
        return NUMBER_BYTES

    def go_back(self, numbers: Iterable[torch.Tensor]) -> None:
        """Begin the backward pass. numbers: the Python numbers that are kept, from now on followed as storages."""
        self._settle()
        self.in_backward = True
        self.level -= self._numbers
        for number in numbers:
            self.follow(number)

    def _there_already(self, source: torch.Tensor, result: torch.Tensor, func: Any) -> None:
        """Leave out a storage that an op has from its operand and no op has made: code may hold tensors anywhere.

        An op that writes into a tensor with data gives one without, in another storage. That stands for the first one,
        which lives on with it.
        """
        storage, held = result.untyped_storage(), source.untyped_storage()
        address = address_of(storage)
        if address in self._alive:
            return
        if address == address_of(held):
            self._alive[address] = storage
        elif _writes(func) and not isinstance(source, FakeTensor):

            def gone(_: Any, held: Any = held) -> None:
                del self._alive[address]

            self._alive[address] = weakref.ref(storage, gone)

    def has_made(self, address: int) -> bool:
        """Whether the storage of an address was made in the step and is alive."""
        return isinstance(self._alive.get(address), weakref.ref) and address not in self._before

    def there(self, tensor: torch.Tensor) -> None:
        """Leave out the storage of a tensor that the caller gives."""
        storage = tensor.untyped_storage()
        self._alive[address_of(storage)] = storage

    def begin(self, flops: FlopCounter) -> None:
        """Begin another step. What earlier ones have left is there before it."""
        self.flops = flops
        self.level = self._peak = self._numbers = 0
        self.in_backward, self.ops, self.calls, self._sum = False, [], set(), None
        self._last = Last()
        self._before = {*self._alive}

    def made_beside(self, tensor: torch.Tensor) -> None:
        """Count a tensor that is made without the dispatcher."""
        self._settle()
        self.follow(tensor)
        self._peak = max(self._peak, self.level)

    def follow(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage from now on until it is freed."""
        storage = tensor.untyped_storage()
        address = address_of(storage)
        if address in self._alive:
            return
        nbytes = storage.nbytes()

        def gone(_: Any) -> None:
            del self._alive[address]
            self._before.discard(address)
            self.level -= nbytes

        self._alive[address] = weakref.ref(storage, gone)
        self.level += nbytes


def by_autograd() -> bool:
    """Whether autograd's engine calls the op, rather than Python code."""
    return caller().f_code.co_name == ENGINE


def place() -> tuple[int, int, int]:
    """The place in Python code that has called torch: ops that one call makes have the same."""
    frame = caller()
    return id(frame), id(frame.f_code), frame.f_lasti  # a later frame may have the address of one that has returned


def caller() -> FrameType:
    """The frame of Python code that has called torch."""
    frame = sys._getframe(2)
    while frame.f_back and (frame.f_code.co_filename.endswith(WRAPPERS) or frame.f_code.co_name == PACKING):
        frame = frame.f_back
    return frame


def address_of(storage: torch.UntypedStorage) -> int:
    """The address of a storage itself: without data it has no other."""
    return storage._cdata


def _storage_of(tensor: torch.Tensor) -> int:
    return address_of(tensor.untyped_storage())


def _name_of(node: Any) -> str:
    """The name of one of autograd's nodes, without its number."""
    return node.name().rstrip(digits) if node is not None else ""


def _is_only_without_data(node: Any, func: Any, args: tuple) -> bool:
    """Whether one of autograd's nodes would not run an op with data. Halves are joined along the other axis."""
    is_whole = func is aten.cat.default and args[1:] == (-2,)
    return func.overloadpacket in ONLY_WITHOUT_DATA.get(_name_of(node), ()) and not is_whole


def _writes(func: Any) -> bool:
    """Whether what an op gives is its first operand, into which it has written."""
    returned = [one.alias_info for one in func._schema.returns]
    return bool(returned) and returned[0] is not None and returned[0].is_write


def _outgrows(first: torch.Tensor, second: Any = None, *_: Any) -> bool:
    """Whether an elementwise result of two operands does not fit into the first."""
    return isinstance(second, torch.Tensor) and torch.broadcast_shapes(first.shape, second.shape) != first.shape


def _is_its_own(first: Any, *others: Any) -> bool:
    """Whether the first operand is a tensor of its own."""
    if not isinstance(first, torch.Tensor) or first._is_view():
        return False
    return all(_storage_of(first) != _storage_of(one) for one in others if isinstance(one, torch.Tensor))
