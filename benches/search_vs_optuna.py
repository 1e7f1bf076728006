#!/usr/bin/env python3
"""Trials per second of a search on digits: `ironwarp search` and Optuna around a PyTorch loop, in one run.

    python3 benches/search_vs_optuna.py [--trials 500] [--rounds 3] [--json result.json]

Both search the same space (benches/optuna_space.toml: 1-4 layers of 16-256, one of four activations, dropout, AdamW with
learning rate and decay, minibatches of 64, up to 20 epochs) with multivariate TPE and Hyperband (reduction 3, from 1
epoch), on the same rows, with as many workers as there are cores: threads of one process for Ironwarp, processes with one
thread each for Optuna (its study lives in a journal file, the storage that its documentation recommends for that).
Rounds alternate, and a contestant counts as the median of its rounds. Needs `pip install torch optuna scikit-learn`.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EPOCHS = 20
BATCH = 64


def objective_on(data):
    """Optuna's objective: trains a trial's network, reports its validation accuracy after each epoch."""
    import optuna
    import torch

    x, y, xv, yv = (torch.from_numpy(part) for part in data)
    activations = {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "silu": torch.nn.SiLU, "tanh": torch.nn.Tanh}

    def objective(trial):
        torch.manual_seed(trial.number)
        depth = trial.suggest_int("depth", 1, 4)
        activation = activations[trial.suggest_categorical("activation", list(activations))]
        dropout = trial.suggest_float("dropout", 0.0, 0.5)
        layers, inputs = [], x.shape[1]
        for i in range(depth):
            width = trial.suggest_int(f"width.{i}", 16, 256, log=True)
            layers += [torch.nn.Linear(inputs, width), activation(), torch.nn.Dropout(dropout)]
            inputs = width
        net = torch.nn.Sequential(*layers, torch.nn.Linear(inputs, 10))
        rate = trial.suggest_float("lr", 1e-4, 3e-2, log=True)
        decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
        optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay, fused=True)
        steps = EPOCHS * math.ceil(len(x) / BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        loss = torch.nn.CrossEntropyLoss()
        accuracy = 0.0
        for epoch in range(EPOCHS):
            net.train()
            order = torch.randperm(len(x))
            for rows in order.split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                loss(net(x[rows]), y[rows]).backward()
                optimizer.step()
                schedule.step()
            net.eval()
            with torch.inference_mode():
                accuracy = (net(xv).argmax(1) == yv).float().mean().item()
            trial.report(accuracy, epoch + 1)
            if trial.should_prune():
                raise optuna.TrialPruned()
        return accuracy

    return objective


def worker(journal, trials, seed):
    """A process of Optuna's."""
    import numpy
    import optuna
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = [part for _, part in sorted(numpy.load(pathlib.Path(journal).with_suffix(".npz")).items())]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
    study = optuna.load_study(
        study_name="digits",
        storage=storage,
        sampler=optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3),
    )
    study.optimize(objective_on(data), callbacks=[optuna.study.MaxTrialsCallback(trials, states=None)])


def optuna_round(trials, seed, workers, directory):
    """(trials per second, best validation accuracy): from the workers' start, imports left out, to the end of the last."""
    import numpy
    import optuna
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y = load_digits(return_X_y=True)
    x, _, y, _ = train_test_split(x, y, test_size=0.2, stratify=y, random_state=seed)
    x, xv, y, yv = train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(x)
    parts = [scaler.transform(x).astype("float32"), y, scaler.transform(xv).astype("float32"), yv]
    journal = str(pathlib.Path(directory) / f"{seed}.log")
    numpy.savez(journal.replace(".log", ".npz"), **{f"{i}": part for i, part in enumerate(parts)})
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
    study = optuna.create_study(study_name="digits", storage=storage, direction="maximize")
    line = [sys.executable, __file__, "--worker", journal, "--trials", str(trials)]
    running = [subprocess.Popen([*line, "--seed", str(seed * 100 + i)]) for i in range(workers)]
    for process in running:
        if process.wait() != 0:
            sys.exit("search_vs_optuna: a worker of Optuna's failed")
    finished = [t for t in study.trials if t.state.is_finished()]
    begin = min(t.datetime_start for t in study.trials)
    end = max(t.datetime_complete for t in finished)
    return len(finished) / (end - begin).total_seconds(), study.best_value


def ironwarp_round(binary, trials, seed, directory):
    line = [str(binary), "search", "digits", "--device", "cpu", "--space", str(ROOT / "benches/optuna_space.toml")]
    line += ["--sampler", "tpe", "--pruner", "hyperband", "--trials", str(trials), "--epochs", str(EPOCHS)]
    line += ["--final-epochs", str(EPOCHS), "--seed", str(seed), "--quiet", "--json"]
    done = subprocess.run(line, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"search_vs_optuna: {done.stderr.strip()}")
    result = json.loads(done.stdout.splitlines()[-1])
    return result["trials_per_second"], result["pareto"][0]["values"]["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker, args.trials, args.seed)
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    binary, workers = ROOT / "target/release/ironwarp", os.cpu_count()
    rounds = {"ironwarp": [], "optuna": []}
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(1, args.rounds + 1):
            sides = [
                ("ironwarp", lambda s=seed: ironwarp_round(binary, args.trials, s, directory)),
                ("optuna", lambda s=seed: optuna_round(args.trials, s, workers, directory)),
            ]
            for name, run in sides if seed % 2 else sides[::-1]:
                rate, best = run()
                rounds[name].append((rate, best))
                print(f"round {seed}  {name:8}  {rate:7.2f} trials/s  best validation {best:.4f}", flush=True)
    median = {name: statistics.median(rate for rate, _ in runs) for name, runs in rounds.items()}
    ratio = median["ironwarp"] / median["optuna"]
    print(f"median    ironwarp {median['ironwarp']:.1f} trials/s, optuna {median['optuna']:.2f}: {ratio:.1f} times")
    if args.json:
        import optuna
        import torch

        result = {
            "what": "trials per second of a search on digits, TPE and Hyperband",
            "when": time.strftime("%Y-%m-%d"),
            "machine": {"cores": workers, "system": platform.platform()},
            "versions": {"optuna": optuna.__version__, "torch": torch.__version__},
            "trials": args.trials,
            "rounds": rounds,
            "median": median,
            "ratio": ratio,
        }
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
