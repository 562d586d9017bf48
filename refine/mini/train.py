"""Training: several processes with one thread each share one set of weights in memory.

Why processes: on CPU a model this small gains next to nothing from more threads (three were no
faster than one here), while processes scale with the cores. Each step is a fixed number of
micro-batches that the workers take as they get free; gradients are added up in shared memory;
each worker then updates the parameters it owns. Matrices learn by Muon (orthogonalised momentum;
Keller Jordan 2024, with the factor 0.2 * sqrt(max(rows, columns)) of Moonshot's "Muon is scalable"
so that one learning rate suits both optimisers), everything else by AdamW.

A layer that is added later is trained alone, and its attention is told where to look (supervised
attention: Mi, Wang and Ittycheriah 2016, arXiv 1608.00112). Left to itself, a model of this size
did not find in 16 million tokens that a letter stands for the choice behind it, though after its
fourth layer a linear map reads the answer (71 %) and the letter of every choice; told, it does.
"""

import math
import multiprocessing
import os
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.files import read_json, write_json
from refine.mini.model import LAYERS


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast. Lengths in tokens; learning rates per step."""

    seed: int = 1
    n_workers: int = 4
    n_tokens: int = 16_000_000
    micro_batches: int = 8
    matrix_rate: float = 6e-3
    other_rate: float = 6e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.02
    decay_fraction: float = 0.55
    checkpoint_seconds: float = 300.0
    n_layers: int = LAYERS
    only_layer: int | None = None  # train this one alone, its attention told where to look

    @property
    def step_tokens(self) -> int:
        return 1024 * self.micro_batches

    @property
    def n_steps(self) -> int:
        return max(1, self.n_tokens // self.step_tokens)


def rate_at(step: int, settings: TrainSettings) -> float:
    """The share of the learning rate at `step`: warm-up, plateau, then linearly down to 2 %."""
    done = (step + 1) / settings.n_steps
    warm = min(1.0, done / settings.warmup_fraction)
    down = min(1.0, (1.0 - done) / settings.decay_fraction)
    return max(0.02, min(warm, down))


def orthogonalised(matrix: Any) -> Any:
    """Newton-Schulz iteration towards the nearest matrix with all singular values near 1."""
    import torch

    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class _Owner:
    """Optimiser state of the parameters that one worker updates."""

    def __init__(self, named: list[tuple[str, Any]], settings: TrainSettings) -> None:
        import torch

        self.named = named
        self.settings = settings
        self.first = {name: torch.zeros_like(p) for name, p in named}
        self.second = {name: torch.zeros_like(p) for name, p in named if not _is_matrix(name)}

    def update(self, gradients: dict[str, Any], step: int) -> None:
        settings, share = self.settings, rate_at(step, self.settings)
        for name, weight in self.named:
            gradient, first = gradients[name], self.first[name]
            if _is_matrix(name):
                first.mul_(0.95).add_(gradient)
                change = orthogonalised(gradient.add(first, alpha=0.95))
                scale = 0.2 * math.sqrt(max(weight.shape))
                weight.mul_(1 - settings.matrix_rate * share * settings.weight_decay)
                weight.add_(change, alpha=-settings.matrix_rate * share * scale)
            else:
                second = self.second[name]
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.95).addcmul_(gradient, gradient, value=0.05)
                t = step + 1
                root = (second / (1 - 0.95**t)).sqrt_().add_(1e-8)
                rate = settings.other_rate * share / (1 - 0.9**t)
                weight.addcdiv_(first, root, value=-rate)


def _is_matrix(name: str) -> bool:
    return "_proj" in name


def _end_with_parent() -> None:
    """Without this a worker trains on when the command is killed, and nobody takes its result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _worker(rank: int, settings: TrainSettings, shared: dict[str, Any], text_dir: str) -> None:
    import numpy
    import torch
    from torch.nn import functional

    from refine.mini.model import new_model

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    model = new_model(settings.seed, settings.n_layers)
    if settings.only_layer is not None:
        model.set_attn_implementation("eager")  # the one that gives its attention out
    named = _parameters(model)
    spans, at = {}, 0
    for name, parameter in named:
        spans[name] = (at, at + parameter.numel())
        parameter.data = shared["weights"][at : at + parameter.numel()].view(parameter.shape)
        at += parameter.numel()
    if settings.only_layer is not None:
        model.requires_grad_(False)
        model.model.layers[settings.only_layer].requires_grad_(True)
        named = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    mine = _Owner(_share_of(named, rank, settings.n_workers), settings)
    if shared["first_step"] > 0:
        saved = _step_dir(Path(shared["work_dir"]), shared["first_step"])
        state = torch.load(saved / f"state-{rank}.pt", weights_only=True)
        mine.first, mine.second = state["first"], state["second"]

    tokens = numpy.load(Path(text_dir) / "tokens.npy", mmap_mode="r")
    weights = numpy.load(Path(text_dir) / "weights.npy", mmap_mode="r")
    batches = numpy.load(Path(text_dir) / "batches.npy")
    pointers = numpy.load(Path(text_dir) / "pointers.npy")
    gradients, barrier, counter = shared["gradients"], shared["barrier"], shared["counter"]

    for step in range(shared["first_step"], settings.n_steps):
        gradients[rank].zero_()
        for name, parameter in named:
            start, stop = spans[name]
            parameter.grad = gradients[rank][start:stop].view(parameter.shape)
        barrier.wait()
        loss_sum, weight_sum = 0.0, 0.0
        while True:
            with counter.get_lock():
                taken = counter.value
                counter.value += 1
            if taken >= settings.micro_batches:
                break
            index = (step * settings.micro_batches + taken) % len(batches)
            start, rows, length = (int(x) for x in batches[index])
            span = slice(start, start + rows * length)
            ids = torch.from_numpy(tokens[span].astype("int64")).view(rows, length)
            share = torch.from_numpy(weights[span].astype("float32") / 100).view(rows, length)
            share = share[:, 1:].reshape(-1)
            out = model(input_ids=ids, output_attentions=settings.only_layer is not None)
            logits = out.logits[:, :-1].flatten(0, 1)
            losses = functional.cross_entropy(logits, ids[:, 1:].reshape(-1), reduction="none")
            loss = (losses * share).sum()
            if settings.only_layer is not None:
                inside = (pointers[:, 0] >= span.start) & (pointers[:, 0] < span.stop)
                places = torch.from_numpy(pointers[inside] - span.start)
                missed = not_looked_at(out.attentions[settings.only_layer], places)
                loss = loss + missed * share.sum()
            loss.backward()
            loss_sum += float(loss.detach())
            weight_sum += float(share.sum())
        shared["sums"][rank, 0], shared["sums"][rank, 1] = loss_sum, weight_sum
        barrier.wait()
        total = float(shared["sums"][:, 1].sum())
        summed = {
            name: gradients[:, spans[name][0] : spans[name][1]].sum(0).view(p.shape) / total
            for name, p in mine.named
        }
        with torch.no_grad():
            mine.update(summed, step)
        if rank == 0:
            counter.value = 0
            shared["saving"].value = max(shared["save"].value, int(step + 1 == settings.n_steps))
            shared["progress"].put((step, float(shared["sums"][:, 0].sum()) / total))
        barrier.wait()
        if shared["saving"].value:
            folder = _step_dir(Path(shared["work_dir"]), step + 1)
            folder.mkdir(exist_ok=True)
            torch.save({"first": mine.first, "second": mine.second}, folder / f"state-{rank}.pt")
            if rank == 0:
                torch.save(shared["weights"].clone(), folder / "weights.pt")
            barrier.wait()
            if rank == 0:
                _name_checkpoint(Path(shared["work_dir"]), step + 1, settings)
                shared["save"].value = 0
            barrier.wait()


def _parameters(model: Any) -> list[tuple[str, Any]]:
    """Named parameters, the shared embedding once."""
    return [(n, p) for n, p in model.named_parameters() if n != "lm_head.weight"]


def not_looked_at(attention: Any, places: Any) -> Any:
    """Mean negative log of the attention that each head pays from a place to where it should look.

    Args:
        attention: shape [rows, heads, length, length].
        places: shape [n, 2], (from, to), counted through all rows.
    """
    length = attention.shape[-1]
    if len(places) == 0:
        return attention.new_zeros(())
    row, asked, told = places[:, 0] // length, places[:, 0] % length, places[:, 1] % length
    return -(attention[row, :, asked, told] + 1e-9).log().mean()


def _step_dir(work_dir: Path, step: int) -> Path:
    return work_dir / f"step-{step:06d}"


def _name_checkpoint(work_dir: Path, step: int, settings: TrainSettings) -> None:
    """Make the folder of this step the checkpoint; only then do older ones go."""
    write_json(work_dir / "checkpoint.json", {"step": step, "settings": asdict(settings)})
    for folder in work_dir.glob("step-*"):
        if folder != _step_dir(work_dir, step):
            shutil.rmtree(folder)


def _share_of(named: list[tuple[str, Any]], rank: int, n_workers: int) -> list[tuple[str, Any]]:
    """Parameters that worker `rank` updates: largest first, dealt to the least loaded worker."""
    loads = [0] * n_workers
    mine = []
    for name, parameter in sorted(named, key=lambda pair: -pair[1].numel()):
        owner = loads.index(min(loads))
        loads[owner] += parameter.numel()
        if owner == rank:
            mine.append((name, parameter))
    return mine


def train(settings: TrainSettings, text_dir: Path, work_dir: Path, start: Any = None) -> Any:
    """Train on the packed text of `text_dir` and give the model; goes on from `work_dir`.

    Args:
        start: the model to train, changed in place; None: a new one.

    Raises PawlError when a worker dies or a checkpoint belongs to other settings.
    """
    import torch
    import torch.multiprocessing as processes
    from tqdm import tqdm

    from refine.mini.model import new_model

    # Freed buffers stay in the process: asking the system for memory anew costs a third of a step.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "33554432")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "2147483648")
    os.environ.setdefault("MALLOC_TOP_PAD_", "67108864")
    os.environ["OMP_NUM_THREADS"] = "1"

    work_dir.mkdir(parents=True, exist_ok=True)
    model = new_model(settings.seed, settings.n_layers) if start is None else start
    named = _parameters(model)
    weights = torch.cat([p.detach().reshape(-1) for _, p in named])
    first_step = _checkpoint_step(work_dir, settings)
    if first_step:
        weights = torch.load(_step_dir(work_dir, first_step) / "weights.pt", weights_only=True)
    weights.share_memory_()
    gradients = torch.zeros(settings.n_workers, weights.numel()).share_memory_()
    context = processes.get_context("spawn")
    shared: dict[str, Any] = {
        "weights": weights,
        "gradients": gradients,
        "sums": torch.zeros(settings.n_workers, 2).share_memory_(),
        "barrier": context.Barrier(settings.n_workers),
        "counter": context.Value("i", 0),
        "save": context.Value("i", 0),
        "saving": context.Value("i", 0),
        "progress": context.SimpleQueue(),
        "work_dir": str(work_dir),
        "first_step": first_step,
    }
    workers = [
        context.Process(target=_worker, args=(rank, settings, shared, str(text_dir)), daemon=True)
        for rank in range(settings.n_workers)
    ]
    for worker in workers:
        worker.start()
    saved_at = time.monotonic()
    with tqdm(
        total=settings.n_steps * settings.step_tokens,
        initial=first_step * settings.step_tokens,
        unit="tok",
        unit_scale=True,
        mininterval=5.0,
        desc="training",
    ) as bar:
        while any(worker.is_alive() for worker in workers):
            dead = [w.exitcode for w in workers if w.exitcode not in (None, 0)]
            if dead:
                for worker in workers:
                    worker.kill()
                raise PawlError(
                    f"a training process ended with exit code {dead[0]}; the last checkpoint is "
                    f"in {work_dir}: run the same command again to go on from it"
                )
            if shared["progress"].empty():
                time.sleep(0.05)
                continue
            step, loss = shared["progress"].get()
            bar.set_postfix(loss=f"{loss:.4f}", step=step + 1, refresh=False)
            bar.update(settings.step_tokens)
            if time.monotonic() - saved_at > settings.checkpoint_seconds:
                shared["save"].value = 1
                saved_at = time.monotonic()
    for worker in workers:
        worker.join()
    at = 0
    for _, parameter in named:
        parameter.data = weights[at : at + parameter.numel()].view(parameter.shape).clone()
        at += parameter.numel()
    return model


def _checkpoint_step(work_dir: Path, settings: TrainSettings) -> int:
    path = work_dir / "checkpoint.json"
    if not path.exists():
        return 0
    done = read_json(path)
    if done["settings"] != asdict(settings):
        raise PawlError(
            f"{work_dir} holds a checkpoint of a training with other settings; give another "
            "--work-dir, or remove that folder to start anew"
        )
    return int(done["step"])
