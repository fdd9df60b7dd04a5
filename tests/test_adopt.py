"""`harness adopt`: a run's change in the person's own files, applied cleanly or not at all. Real files and real git."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.campaign.campaign import Campaign
from harness.campaign.record import ComparisonRecord, MetricRecord, Record, VerdictRecord
from harness.campaign.repository import Repository
from harness.cli.main import cli

BASE = b"".join(b"line_%d = %d\n" % (i, i) for i in range(1, 31))
THEIRS = BASE.replace(b"line_20 = 20\n", b"line_20 = 200\nadded = 1\n")
COMPARED = ComparisonRecord(
    reference="run_0", mean=0.8, reference_mean=1.0, seeds=2, reference_seeds=2, low=-0.3, high=-0.1, sd=0.05, reference_sd=0.05
)  # fmt: skip


@pytest.fixture
def campaign(make_campaign) -> Campaign:
    return filled(make_campaign({}))


def filled(campaign: Campaign, base: bytes = BASE, theirs: bytes = THEIRS) -> Campaign:
    """A baseline, run 1 with a change, run 2 that failed and run 3 whose code is the baseline's."""
    campaign.local.mkdir(exist_ok=True)
    repository = Repository(campaign.root, campaign.local)
    repository.create()
    codes = [base, theirs, theirs, base]
    for run, code in enumerate(codes):
        files = {"experiment.py": code, "experiment.toml": b"# %d" % run}
        failed = run == 2
        kind = "baseline" if run == 0 else "failed" if failed else "not_significant"
        record = Record(
            run=run,
            status="failed" if failed else "completed",
            verdict=VerdictRecord(kind=kind, why=f"why {run}", against_baseline=COMPARED if run == 1 else None),
            metrics={"loss": MetricRecord(value=0.8, values=[0.8] * 2)},
            commit=repository.commit(f"run_{run}/record", "c", files),
            parent=0 if run else None,
        )
        campaign.run_folder(run).mkdir(exist_ok=True)
        record.write(campaign.run_folder(run))
    return campaign


@pytest.fixture
def mine(tmp_path) -> Path:
    """The person's experiment, as the campaign began with it."""
    folder = tmp_path / "my experiment"
    folder.mkdir()
    (folder / "experiment.py").write_bytes(BASE)
    (folder / "experiment.toml").write_bytes(b"mine")
    return folder


def adopt(campaign: Campaign, folder: Path, run: int = 1, *more: str, **named: str) -> Result:
    return CliRunner().invoke(cli, ["adopt", str(campaign.root), str(run), "--into", str(folder), *more], **named)


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(done: Result, folder: Path, before: dict[str, bytes], *said: str) -> None:
    assert done.exit_code == 2, done.output
    for each in said:
        assert each in done.stderr
    assert state(folder) == before


def test_the_patch_is_shown_before_anybody_is_asked_and_no_means_that_nothing_is_written(campaign, mine):
    before = state(mine)
    done = adopt(campaign, mine, input="n\n")
    assert done.exit_code == 130
    assert "not significant. why 1" in done.output
    assert "Against the baseline: loss −0.20 ± 0.05, better." in done.output
    assert done.output.index("+added = 1") < done.output.index("Change experiment.py in")
    assert state(mine) == before


def test_an_untouched_file_becomes_the_runs_and_nothing_else_is_written(campaign, mine):
    (mine / "experiment.py").chmod(0o750)
    done = adopt(campaign, mine, input="y\n")
    assert done.exit_code == 0, done.output
    assert state(mine) == {"experiment.py": THEIRS, "experiment.toml": b"mine"}
    assert stat.S_IMODE((mine / "experiment.py").stat().st_mode) == 0o750


def test_a_file_that_moved_on_keeps_the_persons_changes_beside_the_runs(campaign, mine):
    own = BASE.replace(b"line_2 = 2\n", b"# mine\nline_2 = 2\n" + b"x = 1\n" * 40)
    (mine / "experiment.py").write_bytes(own)
    done = adopt(campaign, mine, 1, "--yes")
    assert done.exit_code == 0, done.output
    assert "merged with yours" in done.output
    assert (mine / "experiment.py").read_bytes() == own.replace(b"line_20 = 20\n", b"line_20 = 200\nadded = 1\n")


def test_what_is_there_already_is_said_and_left(campaign, mine):
    assert adopt(campaign, mine, 1, "--yes").exit_code == 0
    before = state(mine)
    done = adopt(campaign, mine, 1, "--yes")
    assert done.exit_code == 0
    assert "already" in done.output
    assert state(mine) == before


def test_a_conflict_writes_nothing_and_shows_the_lines(campaign, mine):
    (mine / "experiment.py").write_bytes(BASE.replace(b"line_20 = 20", b"line_20 = 21"))
    refused(adopt(campaign, mine, 1, "--yes"), mine, state(mine), "same lines", "line_20 = 21", "line_20 = 200")


@pytest.fixture
def two_files(make_campaign, experiment) -> Campaign:
    """A campaign whose run 1 changes experiment.py and z.py."""
    contract = experiment / "experiment.toml"
    both = 'editable = ["experiment.py", "z.py"]'
    contract.write_text(contract.read_text().replace('editable = ["experiment.py"]', both))
    (experiment / "z.py").write_text("z = 1\n")
    campaign = make_campaign({})
    repository = Repository(campaign.root, campaign.local)
    repository.create()
    for run, z in enumerate((b"z = 1\n", b"z = 2\n")):
        code = {"experiment.py": (BASE, THEIRS)[run], "z.py": z}
        verdict = VerdictRecord(kind="improved" if run else "baseline")
        campaign.run_folder(run).mkdir()
        record = Record(run=run, status="completed", verdict=verdict, commit=repository.commit(f"run_{run}", "c", code))
        record.write(campaign.run_folder(run))
    return campaign


def test_of_several_files_none_is_written_where_one_is_in_conflict(two_files, mine):
    (mine / "z.py").write_bytes(b"z = 3\n")
    refused(adopt(two_files, mine, 1, "--yes"), mine, state(mine), "z.py", "same lines")
    (mine / "z.py").write_bytes(b"z = 1\n")
    assert adopt(two_files, mine, 1, "--yes").exit_code == 0
    assert state(mine) == {"experiment.py": THEIRS, "z.py": b"z = 2\n", "experiment.toml": b"mine"}


def test_files_that_are_written_already_are_put_back_where_a_later_one_cannot_be(two_files, mine, monkeypatch):
    (mine / "z.py").write_bytes(b"z = 1\n")
    before, replace = state(mine), Path.replace

    def full_disk(self: Path, target: Path) -> Path:
        if target.name == "z.py":
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full_disk)
    done = adopt(two_files, mine, 1, "--yes")
    assert done.exit_code == 4
    assert "No space left on device. Nothing was changed." in done.stderr
    assert state(mine) == before


def windows(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("campaigns", [BASE, windows(BASE)], ids=["campaign-lf", "campaign-crlf"])
@pytest.mark.parametrize("ends", [lambda x: x, windows], ids=["mine-lf", "mine-crlf"])
def test_line_ends_are_the_persons(make_campaign, mine, campaigns, ends):
    change = windows if b"\r" in campaigns else bytes
    campaign = filled(make_campaign({}), campaigns, change(THEIRS))
    (mine / "experiment.py").write_bytes(ends(b"# mine\n" + BASE))
    done = adopt(campaign, mine, 1, "--yes")
    assert done.exit_code == 0, done.output
    assert (mine / "experiment.py").read_bytes() == ends(b"# mine\n" + THEIRS)


def test_a_last_line_without_a_newline_stays_one(make_campaign, mine):
    campaign = filled(make_campaign({}), BASE.rstrip(b"\n"), THEIRS.rstrip(b"\n"))
    for own in (BASE.rstrip(b"\n"), b"# mine\n" + BASE.rstrip(b"\n")):
        (mine / "experiment.py").write_bytes(own)
        assert adopt(campaign, mine, 1, "--yes").exit_code == 0
        assert (mine / "experiment.py").read_bytes() == own.replace(b"line_20 = 20\n", b"line_20 = 200\nadded = 1\n")


def test_a_merge_that_is_no_python_any_more_is_refused(make_campaign, mine):
    base = b"a = 1\n" + b"\n" * 20 + b"b = 2\n"
    campaign = filled(make_campaign({}), base, base.replace(b"\n" * 10, b"\n" * 9 + b"c = 3\n", 1))
    (mine / "experiment.py").write_bytes(base.replace(b"a = 1", b"a = (1 +").replace(b"b = 2", b"2)"))
    refused(adopt(campaign, mine, 1, "--yes"), mine, state(mine), "not be valid Python")


@pytest.mark.parametrize(
    ("run", "said"),
    [(0, "unmodified experiment"), (2, "run 2 failed"), (3, "nothing to adopt"), (4, "no record of it"), (-1, "")],
)
def test_a_run_without_a_change_that_was_executed_well_is_refused(campaign, mine, run, said):
    refused(adopt(campaign, mine, run), mine, state(mine), said)


def test_a_link_is_not_the_persons_own_file(campaign, mine, tmp_path):
    real = tmp_path / "elsewhere.py"
    (mine / "experiment.py").rename(real)
    (mine / "experiment.py").symlink_to(real)
    refused(adopt(campaign, mine, 1, "--yes"), mine, state(mine), "a symbolic link to", "--into")
    assert real.read_bytes() == BASE


def test_a_file_that_a_linked_folder_puts_elsewhere_is_refused(make_campaign, experiment, mine, tmp_path):
    contract = experiment / "experiment.toml"
    moved = contract.read_text().replace("experiment.py", "src/experiment.py")
    contract.write_text('command = ["python", "src/experiment.py", "--out_dir={out_dir}"]\n' + moved)
    (experiment / "src").mkdir()
    (experiment / "experiment.py").rename(experiment / "src" / "experiment.py")
    campaign = make_campaign({})
    repository = Repository(campaign.root, campaign.local)
    repository.create()
    for run, code in enumerate((BASE, THEIRS)):
        commit = repository.commit(f"run_{run}", "c", {"src/experiment.py": code})
        campaign.run_folder(run).mkdir()
        verdict = VerdictRecord(kind="improved" if run else "baseline")
        Record(run=run, status="completed", verdict=verdict, commit=commit).write(campaign.run_folder(run))
    other = tmp_path / "other"
    other.mkdir()
    (other / "experiment.py").write_bytes(BASE)
    (mine / "src").symlink_to(other)
    refused(adopt(campaign, mine, 1, "--yes"), mine, state(mine), "outside")
    assert (other / "experiment.py").read_bytes() == BASE


def test_a_contract_that_names_a_file_outside_the_folder_is_refused(campaign, mine):
    text = campaign.options_file.read_text()
    campaign.options_file.write_text(text.replace('"experiment.py"\n', '"../experiment.py"\n', 1))
    done = adopt(campaign, mine, 1, "--yes")
    assert done.exit_code == 4
    assert "inside" in done.stderr
    assert state(mine) == {"experiment.py": BASE, "experiment.toml": b"mine"}


def test_the_campaigns_own_folder_and_a_folder_without_the_file_are_refused(campaign, tmp_path):
    code = campaign.root / "experiment.py"
    code.write_bytes(BASE)
    assert "the campaign itself" in adopt(campaign, campaign.root, 1, "--yes").stderr
    assert code.read_bytes() == BASE
    (tmp_path / "nothing").mkdir()
    refused(adopt(campaign, tmp_path / "nothing", 1, "--yes"), tmp_path / "nothing", {}, "no such file", "--into")
    refused(adopt(campaign, tmp_path / "missing", 1, "--yes"), tmp_path, state(tmp_path), "no such folder")


def test_a_file_that_changes_while_the_patch_is_looked_at_is_left(campaign, mine, monkeypatch):
    def changed(*_, **__) -> bool:
        (mine / "experiment.py").write_bytes(b"meanwhile\n")
        return True

    monkeypatch.setattr("click.confirm", changed)
    done = adopt(campaign, mine)
    assert done.exit_code == 2
    assert "changed meanwhile" in done.stderr
    assert state(mine) == {"experiment.py": b"meanwhile\n", "experiment.toml": b"mine"}


def test_a_copy_without_the_repository_says_so(campaign, mine):
    (campaign.root / ".git").rename(campaign.root.parent / "git")
    refused(adopt(campaign, mine, 1, "--yes"), mine, state(mine), "git repository")


def test_the_persons_git_settings_have_no_part_in_it(campaign, mine, tmp_path, monkeypatch):
    config = tmp_path / "gitconfig"
    config.write_text("[merge]\n\tconflictStyle = zdiff3\n[diff]\n\tnoprefix = true\n\texternal = false\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    done = adopt(campaign, mine, 1, "--yes")
    assert done.exit_code == 0, done.output
    assert "--- a/experiment.py\n+++ b/experiment.py" in done.output
    assert (mine / "experiment.py").read_bytes() == THEIRS
