"""A fixed seed that a change puts into the code is found in its text; one that comes from the harness is not."""

from __future__ import annotations

import pytest

from harness.execution.fixed_seeds import fixed_seeds

FIXED = [
    "random.seed(137)",
    "seed(137)",
    "torch.manual_seed(137)",
    "torch.cuda.manual_seed_all(137)",
    "np.random.seed(137)",
    "rng = random.Random(137)",
    "rng = Random('lucky')",
    "rng = np.random.default_rng(137)",
    "rng = np.random.default_rng([1, 37])",
    "rng = np.random.Generator(np.random.PCG64(137))",
    "rng = np.random.default_rng(np.random.SeedSequence(137))",
    "g = torch.Generator().manual_seed(137)",
    "key = jax.random.PRNGKey(100 + 37)",
    "random.seed(int('137'))",
    "random.seed(-137)",
    "split(rows, random_state=137)",
    "settings = replace(settings, seed=137)",
    "settings.seed = 137",
    "settings['seed'] = 137",
    "os.environ['HARNESS_SEED'] = '137'",
    "settings = settings | {'seed': 137}",
    "parser.add_argument('--seed', type=int, default=137)",
    "seed: int = 137",
]
FREE = [
    "random.seed()",
    "random.seed(None)",
    "random.Random()",
    "random.seed(settings.seed)",
    "random.Random(settings['seed'] + 137)",
    "random.Random(f'noise {seed}')",
    "torch.manual_seed(int(os.environ['HARNESS_SEED']))",
    "rng = random.Random(int(os.environ.get('HARNESS_SEED', '0')))",
    "rng.random(137)",
    "torch.randn(137)",
    "steps = 137",
    "parser.add_argument('--steps', default=137)",
    "split(rows, random_state=None, shuffle=True)",
    "'random.seed(137)'",
    "# random.seed(137)",
]


@pytest.mark.parametrize("line", FIXED)
def test_a_fixed_seed_is_found(line):
    (found,) = fixed_seeds(b"x = 1\n", f"x = 1\ndef train():\n    {line}\n".encode())
    assert found.startswith("line 3: ") and ("37" in found or "lucky" in found)


@pytest.mark.parametrize("line", FREE)
def test_a_seed_that_the_code_does_not_fix_is_not_found(line):
    assert fixed_seeds(b"x = 1\n", f"x = 1\n{line}\n".encode()) == []


def test_a_name_that_stands_for_a_constant_is_followed():
    assert fixed_seeds(b"", b"LUCKY = 137\nrandom.seed(LUCKY)\n") == ["line 2: random.seed(LUCKY)"]
    assert fixed_seeds(b"", b"lucky = 137\nlucky += settings.seed\nrandom.seed(lucky)\n") == []
    assert fixed_seeds(b"", b"lucky = 137\ndef f(lucky): random.seed(lucky)\n") == []


def test_one_cause_is_said_once():
    assert fixed_seeds(b"", b"seed = 137\nrandom.seed(seed)\ntorch.manual_seed(seed)\n") == ["line 1: seed = 137"]


def test_only_what_is_new_counts_wherever_it_stands():
    before = b"random.seed(1)\n"
    assert fixed_seeds(before, b"x = 1\n\nrandom.seed(1)\n") == []
    assert fixed_seeds(before, b"random.seed(2)\n") == ["line 1: random.seed(2)"]
    assert fixed_seeds(before, b"random.seed(1)\nrandom.seed(1)\n") == ["line 2: random.seed(1)"]
    assert fixed_seeds(before, b"") == []


def test_code_that_does_not_parse_has_no_finding():
    assert fixed_seeds(b"", b"random.seed(137\n") == []
    assert fixed_seeds(b"(", b"random.seed(137)\n") == ["line 1: random.seed(137)"]
