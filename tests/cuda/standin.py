"""A stand-in for a GPU: this machine's CPU under the name of cuda, with blocks of 512 bytes and a history of them.

What kernels of the CPU allocate inside plays the part of cuDNN's workspaces. The code that reads a real GPU's history
runs too: the stand-in writes one in the form of torch.cuda.memory._snapshot.
"""

import torch

from costmodel.pytorch.devices import Most
from costmodel.pytorch.devices.gpu import Gpu, blocks
from costmodel.pytorch.devices.processor import Processor


class StandIn(Gpu):
    """Runs on the CPU. waited: how often it was waited for. told: what it says that a process takes at most."""

    place = torch.device("cpu")
    name = "a stand-in, sm_00"

    def __init__(self):
        self.waited = 0
        self.told = Most(2**40, 2**40)
        self.processor = Processor()

    def refuse_if_absent(self):
        pass

    def wait(self):
        self.waited += 1

    def start_over(self):
        self.wait()

    def most(self):
        return self.told

    def recorded(self, run):
        self.wait()
        result, found = self.processor.recorded(run)
        return result, blocks(history_of(found))


def history_of(found):
    """A GPU's history of some allocations and releases, with what else stands in one."""
    history = []
    for address, size in found:
        if size > 0:
            history.append({"action": "segment_alloc", "addr": address, "size": 2**21, "stream": 0})
            history.append({"action": "alloc", "addr": address, "size": size, "stream": 0})
        else:
            history.append({"action": "free_requested", "addr": address, "size": -size, "stream": 0})
            history.append({"action": "free_completed", "addr": address, "size": -size, "stream": 0})
    return history
