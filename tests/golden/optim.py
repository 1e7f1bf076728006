"""Prints the golden values of host/ops/optim/tests.rs and host/ops/clip.rs: five optimiser steps by PyTorch, in f32 on the CPU."""

import torch

START = [0.5, -1.25, 2.0, -0.0625, 3.5]


def gradient(t):
    return [((7 * t + 3 * k) % 11 - 5) / 4.0 * 10.0 ** (k - 2) for k in range(5)]


CASES = [
    (torch.optim.SGD, dict(lr=0.1)),
    (torch.optim.SGD, dict(lr=0.05, weight_decay=0.1)),
    (torch.optim.SGD, dict(lr=0.1, momentum=0.9, dampening=0.25, weight_decay=0.01)),
    (torch.optim.SGD, dict(lr=0.1, momentum=0.8, nesterov=True)),
    (torch.optim.RMSprop, dict(lr=0.01)),
    (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, momentum=0.9, weight_decay=0.05, eps=1e-6)),
    (torch.optim.Adam, dict(lr=0.001)),
    (torch.optim.Adam, dict(lr=0.05, betas=(0.8, 0.99), weight_decay=0.1, eps=1e-6)),
    (torch.optim.AdamW, dict(lr=0.02, weight_decay=0.3)),
]

torch.set_num_threads(1)
print("PyTorch", torch.__version__)
for optimizer, options in CASES:
    p = torch.tensor(START, requires_grad=True)
    o = optimizer([p], **options)
    for t in range(1, 6):
        p.grad = torch.tensor(gradient(t))
        o.step()
    print(optimizer.__name__, options, [float(x) for x in p.detach().double()])

p, q = torch.zeros(3, requires_grad=True), torch.zeros(1, requires_grad=True)
p.grad, q.grad = torch.tensor([3.0, -1.0, 0.5]), torch.tensor([2.0])
norm = torch.nn.utils.clip_grad_norm_([p, q], 1.5)
print("clip_grad_norm_", float(norm), p.grad.tolist(), q.grad.tolist())
