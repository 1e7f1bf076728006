#!/usr/bin/env python3
"""Small networks trained a second: Ironwarp's population and a PyTorch loop, side by side in one run.

    python3 benches/population_vs_pytorch.py                     on cpu, and on the GPU where there is one
    python3 benches/population_vs_pytorch.py --device cpu --json result.json

The networks are those of `ironwarp bench population --list`: MLPs of 1-4 hidden layers of 16-128 units on data of the
shape of digits (64 features, 10 classes, four fifths of 1797 rows to train on), batch 64, Adam, 5 epochs, the validation
part after each. PyTorch trains one after another in this process, in every variant given below, and the fastest counts;
Ironwarp runs as `ironwarp bench population`. Blocks alternate, in turning order; a contestant counts as the median of its blocks. A
block of PyTorch is a part of the population, spread evenly over it, the same in every block.
"""

import datetime
import json
import os
import statistics
import subprocess
import time

from vs_pytorch import arguments, available_cores, fail, find_binary, find_devices, loaded, machine, pin, write

ROWS, VALIDATION, FEATURES, CLASSES, BATCH = 1437, 360, 64, 10, 64
# Networks a second over PyTorch's that each device is to reach.
TARGETS = {"cpu": 20.0, "cuda": 50.0}


class Ironwarp:
    name = "ironwarp"

    def __init__(self, binary, device, networks, epochs, threads):
        self.line = [str(binary), "bench", "population", "--networks", str(networks), "--epochs", str(epochs)]
        self.line += ["--device", "cuda:0" if device == "cuda" else "cpu", "--json"]
        self.env = {**os.environ, "RAYON_NUM_THREADS": str(threads)}

    def hidden(self):
        """The hidden widths of each network."""
        run = subprocess.run([*self.line, "--list"], capture_output=True, text=True, env=self.env)
        if run.returncode != 0:
            fail(run.stderr.strip())
        return [[int(width) for width in line.split(",")] for line in run.stdout.split()]

    def block(self):
        """Networks a second."""
        run = subprocess.run(self.line, capture_output=True, text=True, env=self.env)
        if run.returncode != 0:
            fail(f"{' '.join(self.line)} failed: {run.stderr.strip()}")
        result = json.loads(run.stdout.splitlines()[-1])
        if result["failed"]:
            fail(f"{result['failed']} networks failed")
        return result["networks_per_second"]


class PyTorch:
    """One network after another, eagerly."""

    def __init__(self, device, hidden, epochs, threads, fused):
        import torch

        self.torch, self.device, self.hidden, self.epochs = torch, device, hidden, epochs
        self.threads, self.fused = threads, fused
        self.name = f"{'fused' if fused else 'default'} Adam" + (f", {threads} threads" if device == "cpu" else "")
        torch.manual_seed(7)
        self.x, self.vx = (torch.randn(n, FEATURES, device=device) for n in (ROWS, VALIDATION))
        self.y, self.vy = (torch.randint(CLASSES, (n,), device=device) for n in (ROWS, VALIDATION))
        self.train(hidden[0])

    def train(self, hidden):
        torch, F = self.torch, self.torch.nn.functional
        layers, fan_in = [], FEATURES
        for width in hidden:
            layers += [torch.nn.Linear(fan_in, width), torch.nn.ReLU()]
            fan_in = width
        model = torch.nn.Sequential(*layers, torch.nn.Linear(fan_in, CLASSES)).to(self.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=self.fused)
        for _ in range(self.epochs):
            for index in torch.randperm(ROWS, device=self.device).split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(model(self.x[index]), self.y[index]).backward()
                optimizer.step()
            with torch.no_grad():
                right = (model(self.vx).argmax(1) == self.vy).float().mean().item()
        return right

    def block(self):
        self.torch.set_num_threads(self.threads)
        began = time.perf_counter()
        for hidden in self.hidden:
            self.train(hidden)
        return len(self.hidden) / (time.perf_counter() - began)


def measure(device, binary, networks, epochs, threads, sample, rounds):
    ours = Ironwarp(binary, device, networks, epochs, threads)
    hidden = ours.hidden()
    part = hidden[:: max(1, len(hidden) // sample)][:sample]
    counts = sorted({1, threads}, reverse=True) if device == "cpu" else [threads]
    contestants = [ours] + [PyTorch(device, part, epochs, n, fused) for n in counts for fused in (False, True)]
    ours.block()
    blocks = {c.name: [] for c in contestants}
    for turn in range(rounds):
        # Everybody goes first and last in turn: nobody gets the quiet moments of a loaded machine.
        shift = turn % len(contestants)
        for contestant in contestants[shift:] + contestants[:shift]:
            blocks[contestant.name].append(contestant.block())
    medians = {name: statistics.median(rates) for name, rates in blocks.items()}
    best = max((name for name in medians if name != ours.name), key=medians.get)
    pairs = [o / p for o, p in zip(blocks[ours.name], blocks[best])]
    result = {
        "networks_per_second": medians,
        "blocks": blocks,
        "pytorch": best,
        "ratio": medians[ours.name] / medians[best],
        "lowest_round": min(pairs),
        "highest_round": max(pairs),
        "target_ratio": TARGETS[device],
    }
    print(f"\n{device}, {networks} networks, {epochs} epochs")
    for name, rate in medians.items():
        print(f"  {name:40} {rate:10.1f} networks/s")
    verdict = "met" if result["ratio"] >= TARGETS[device] else "MISSED"
    print(
        f"  ratio to the fastest PyTorch ({best}): {result['ratio']:.1f}x (rounds {min(pairs):.1f} to"
        f" {max(pairs):.1f}); target {TARGETS[device]:.0f}x: {verdict}{' (loaded machine)' * loaded()}",
        flush=True,
    )
    return result


def main():
    parser = arguments(__doc__.split("\n\n")[0])
    parser.add_argument("--networks", type=int, default=256, metavar="N", help="networks of the population (default: 256)")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="epochs of each (default: 5)")
    parser.add_argument("--sample", type=int, default=16, metavar="N", help="networks of a block of PyTorch (default: 16)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="cores for both sides on cpu (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="blocks of each contestant (default: 5)")
    args = parser.parse_args()
    binary, devices = find_binary(args.binary), find_devices(args.device)
    import torch

    pin(available_cores()[: args.threads])
    result = {"bench": "population_vs_pytorch", "date": datetime.date.today().isoformat(), "machine": machine()}
    result |= {"torch": torch.__version__, "load_average_before": os.getloadavg(), "devices": {}}
    for device in devices:
        result["devices"][device] = measure(
            device, binary, args.networks, args.epochs, args.threads, args.sample, args.rounds
        )
    result["load_average_after"] = os.getloadavg()
    if args.json:
        write(result, args.json)


if __name__ == "__main__":
    main()
