#!/usr/bin/env python3
"""Writes tests/golden/pytorch.json: what PyTorch computes, for tests/golden.rs.

Losses with their gradients, activations with their derivatives, softmax and log-softmax, optimiser trajectories,
clipping by the global norm, and layer and batch normalisation. Everything is computed in double precision on the CPU from inputs that are exact in single
precision, from fixed seeds, so that the file is the same whenever it is made.

    python3 -m venv venv && venv/bin/pip install torch && venv/bin/python scripts/golden-pytorch.py
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
GENERATOR = torch.Generator().manual_seed(20240229)


def rand(*shape, lo=-4.0, hi=4.0):
    """Uniform numbers that single precision holds exactly."""
    return (torch.rand(*shape, generator=GENERATOR, dtype=torch.float32) * (hi - lo) + lo).double()


def numbers(t):
    return t.detach().flatten().tolist()


def losses():
    out = []

    def add(name, x, other, call, **attributes):
        x = x.clone().requires_grad_()
        loss = call(x)
        loss.backward()
        out.append({"name": name, "shape": list(x.shape), "x": numbers(x), **other, **attributes,
                    "loss": loss.item(), "grad": numbers(x.grad)})

    for rows, classes in [(1, 1), (1, 2), (3, 5), (16, 10), (7, 16), (5, 17), (2, 67)]:
        for smoothing in [0.0, 0.125, 0.5]:
            x = rand(rows, classes)
            labels = torch.randint(classes, (rows,), generator=GENERATOR)
            add("cross_entropy", x, {"labels": labels.tolist()},
                lambda x: F.cross_entropy(x, labels, label_smoothing=smoothing), parameter=smoothing)
    x = rand(4, 6, lo=-1e4, hi=1e4)
    labels = torch.tensor([0, 5, 2, 2])
    add("cross_entropy", x, {"labels": labels.tolist()}, lambda x: F.cross_entropy(x, labels), parameter=0.0)

    for shape in [(1,), (17,), (3, 5), (2, 33)]:
        x, t, unit = rand(*shape), rand(*shape), rand(*shape, lo=0.0, hi=1.0)
        add("bce_with_logits", x, {"target": numbers(unit)},
            lambda x: F.binary_cross_entropy_with_logits(x, unit), parameter=0.0)
        add("mse", x, {"target": numbers(t)}, lambda x: F.mse_loss(x, t), parameter=0.0)
        # One pair is equal: sign(0) is 0.
        same = t.clone()
        same.view(-1)[0] = x.view(-1)[0]
        add("mae", x, {"target": numbers(same)}, lambda x: F.l1_loss(x, same), parameter=0.0)
        for delta in [0.25, 1.0, 3.0]:
            add("huber", x, {"target": numbers(t)}, lambda x: F.huber_loss(x, t, delta=delta), parameter=delta)
    x = torch.tensor([200.0, -200.0, 88.0, -104.0, 0.0])
    t = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.5])
    add("bce_with_logits", x, {"target": numbers(t)},
        lambda x: F.binary_cross_entropy_with_logits(x, t), parameter=0.0)
    return out


def activations():
    grid = torch.cat([
        torch.linspace(-6, 6, 49),
        # 3 is where hard-swish has a corner, and PyTorch's choice of a derivative there is its own: not among these.
        torch.tensor([-100.0, -50.0, -20.0, -10.0, -1e-3, 1e-3, 10.0, 15.0, 19.0, 21.0, 50.0, 100.0]),
        rand(24, lo=-8.0, hi=8.0),
    ])
    grid = grid[(grid.abs() != 3.0)].float().double()
    functions = {
        "identity": lambda x: x * 1.0,
        "relu": F.relu,
        "leaky_relu(0.01)": lambda x: F.leaky_relu(x, float(torch.tensor(0.01, dtype=torch.float32))),
        "leaky_relu(0.25)": lambda x: F.leaky_relu(x, 0.25),
        "elu(1)": F.elu,
        "elu(0.5)": lambda x: F.elu(x, 0.5),
        "selu": F.selu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "mish": F.mish,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        # PyTorch replaces softplus by the identity past 20; where that shows in double precision we keep the function.
        "softplus": lambda x: F.softplus(x, threshold=1000),
        "hard_swish": F.hardswish,
    }
    out = []
    for name, f in functions.items():
        x = grid.clone().requires_grad_()
        y = f(x)
        y.sum().backward()
        out.append({"name": name, "x": numbers(x), "y": numbers(y), "derivative": numbers(x.grad)})
    return out


def softmaxes():
    out = []
    for name, f in [("softmax", F.softmax), ("log_softmax", F.log_softmax)]:
        for shape in [(1,), (7,), (3, 5), (2, 3, 16), (2, 1, 4, 17), (2, 131)]:
            x = rand(*shape).requires_grad_()
            c = rand(*shape, lo=-1.0, hi=1.0)
            y = f(x, dim=-1)
            (y * c).sum().backward()
            out.append({"name": name, "shape": list(shape), "x": numbers(x), "cotangent": numbers(c),
                        "y": numbers(y), "grad": numbers(x.grad)})
    return out


def optimizers():
    out = []
    choices = [
        ("sgd", torch.optim.SGD, {}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
        ("sgd", torch.optim.SGD, {"momentum": 0.875, "nesterov": True, "weight_decay": 0.0625}),
        ("rmsprop", torch.optim.RMSprop, {}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.9, "momentum": 0.5, "weight_decay": 0.125}),
        ("adam", torch.optim.Adam, {}),
        ("adam", torch.optim.Adam, {"betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.125}),
        ("adamw", torch.optim.AdamW, {}),
        ("adamw", torch.optim.AdamW, {"betas": [0.8, 0.95], "weight_decay": 0.25}),
    ]
    for name, make, options in choices:
        lr = 0.015625
        shapes = [(3, 4), (5,)]
        params = [torch.nn.Parameter(rand(*s)) for s in shapes]
        start = [numbers(p) for p in params]
        optimizer = make(params, lr=lr, foreach=False, **options)
        grads, after = [], []
        for _ in range(5):
            for p in params:
                p.grad = rand(*p.shape, lo=-1.0, hi=1.0)
            grads.append([numbers(p.grad) for p in params])
            optimizer.step()
            after.append([numbers(p) for p in params])
        out.append({"name": name, "lr": lr, "options": options, "shapes": [list(s) for s in shapes],
                    "params": start, "grads": grads, "after": after})
    return out


def clipping():
    out = []
    for max_norm in [0.5, 2.0, 1000.0]:
        params = [torch.nn.Parameter(rand(*s)) for s in [(3, 4), (5,), (1,)]]
        for p in params:
            p.grad = rand(*p.shape)
        grads = [numbers(p.grad) for p in params]
        norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
        out.append({"max_norm": max_norm, "shapes": [list(p.shape) for p in params], "grads": grads,
                    "norm": norm.item(), "clipped": [numbers(p.grad) for p in params]})
    return out


def norms():
    # Constants as single precision holds them.
    eps, momentum = (float(torch.tensor(c, dtype=torch.float32)) for c in (1e-5, 0.1))
    out = []
    # n / (n - 1) is exact in single precision for these numbers of samples.
    for name, shapes in [("layer", [(1, 1), (1, 7), (3, 5), (16, 10), (2, 131)]),
                         ("batch", [(2, 1), (3, 7), (5, 5), (17, 10), (129, 3)])]:
        for rows, n in shapes:
            x = rand(rows, n).requires_grad_()
            weight, bias = (rand(n, lo=-2.0, hi=2.0).requires_grad_() for _ in range(2))
            c = rand(rows, n, lo=-1.0, hi=1.0)
            mean, var = rand(n), rand(n, lo=0.5, hi=3.0)
            case = {"name": name, "shape": [rows, n], "x": numbers(x), "weight": numbers(weight), "bias": numbers(bias),
                    "cotangent": numbers(c), "running_mean": numbers(mean), "running_var": numbers(var)}
            if name == "layer":
                y = F.layer_norm(x, (n,), weight, bias, eps)
            else:
                case["inference"] = numbers(F.batch_norm(x, mean, var, weight, bias, False, momentum, eps))
                y = F.batch_norm(x, mean, var, weight, bias, True, momentum, eps)
                case["new_mean"], case["new_var"] = numbers(mean), numbers(var)
            (y * c).sum().backward()
            out.append({**case, "y": numbers(y), "grad_x": numbers(x.grad), "grad_weight": numbers(weight.grad),
                        "grad_bias": numbers(bias.grad)})
    return out


def main():
    golden = {
        "torch": torch.__version__.split("+")[0],
        "losses": losses(),
        "activations": activations(),
        "softmax": softmaxes(),
        "optimizers": optimizers(),
        "clipping": clipping(),
        "norms": norms(),
    }
    path = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "pytorch.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # One case a line.
    lines = []
    for key, value in golden.items():
        if isinstance(value, list):
            cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in value)
            lines.append(f"{json.dumps(key)}: [\n{cases}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path}: {path.stat().st_size} bytes, PyTorch {golden['torch']}")


if __name__ == "__main__":
    main()
