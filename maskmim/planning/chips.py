"""The accelerators that a plan knows: peak FLOP/s, memory and links of one chip."""

from __future__ import annotations

from typing import NamedTuple

GB, GIB = 1e9, 2**30


class Chip(NamedTuple):
    """One accelerator, with its vendor's figures.

    name:       as in `--topology`.
    kind:       'tpu' or 'gpu'.
    flops:      peak FLOP/s in bfloat16 with float32 sums, dense.
    memory:     bytes of HBM that a program can use; compiler and allocator reserve the rest.
    bandwidth:  bytes/s between HBM and the chip.
    link:       bytes/s of one link to a neighbour, in one direction.
    links:      links of a chip; a torus of k dimensions has 2 k of them.
    chips:      chips of a host: of a virtual machine in a multi-host TPU slice, or of a GPU node.
    cpus:       virtual CPUs (half a core each) of a host.
    pod:        most chips that links connect.
    network:    bytes/s of a chip between hosts, in one direction; 0 where links cross hosts too.
    """

    name: str
    kind: str
    flops: float
    memory: float
    bandwidth: float
    link: float
    links: int
    chips: int
    cpus: int
    pod: int
    network: float = 0.0

    @property
    def ridge(self) -> float:
        """Return the FLOPs per byte of HBM traffic above which arithmetic is the bottleneck."""
        return self.flops / self.bandwidth


def _tpu(name: str, tflops: float, memory: float, bandwidth: float, **rest) -> Chip:
    sizes = tflops * 1e12, memory * GIB, bandwidth * GB, rest.pop("link") * GB
    return Chip(name, "tpu", *sizes, chips=4, **rest)


def _gpu(name: str, tflops: float, memory: float, bandwidth: float, **rest) -> Chip:
    sizes = tflops * 1e12, 0.75 * memory * GB, bandwidth * GB, rest.pop("link") * GB
    network = rest.pop("network") * GB
    return Chip(name, "gpu", *sizes, links=1, chips=8, pod=1 << 20, network=network, **rest)


def chips() -> dict[str, Chip]:
    """Return all chips by name.

    TPUs: cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} for peak, HBM bandwidth and the bandwidth
    between chips, given for both directions together and so divided by two and by the links. The
    links of v4 are from its paper (arXiv 2304.01433: 6 links of 50 GB/s). `memory` is what libtpu
    0.0.42 lets a program use of 32, 16, 96 and 32 GiB. Virtual CPUs: machine types ct4p, ct5lp,
    ct5p and ct6e -(hightpu|standard)-4t.
    GPUs, the SXM models: NVIDIA's data sheets of A100 80GB, H100 and H200 (dense, no sparsity);
    NVLink's bandwidth of both directions, divided by two; `memory` is the 75 % that JAX allocates
    unless XLA_PYTHON_CLIENT_MEM_FRACTION is set; between nodes one network card per GPU, of 200
    Gb/s (DGX A100) or 400 Gb/s (DGX H100 and H200). Virtual CPUs: machine types a2-ultragpu-8g,
    a3-highgpu-8g and a3-ultragpu-8g.
    """
    known = (
        _tpu("v4", 275, 30.75, 1200, link=50, links=6, cpus=240, pod=4096),
        _tpu("v5e", 197, 15.75, 819, link=50, links=4, cpus=112, pod=256),
        _tpu("v5p", 459, 95.73, 2765, link=100, links=6, cpus=208, pod=8960),
        _tpu("v6e", 918, 31.24, 1638, link=100, links=4, cpus=180, pod=256),
        _gpu("a100", 312, 80, 2039, link=300, cpus=96, network=25),
        _gpu("h100", 989, 80, 3350, link=450, cpus=208, network=50),
        _gpu("h200", 989, 141, 4800, link=450, cpus=224, network=50),
    )
    return {chip.name: chip for chip in known}
