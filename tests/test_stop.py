import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from harness.campaign.errors import Interrupted
from harness.campaign.stop import NOTICE, Stop
from tests.waiting import HANGS, until


def press(stop: Stop, condition) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    until(condition)


def test_the_first_ctrl_c_lets_the_step_in_hand_end_and_says_so():
    stop, said = Stop(), []
    with stop.listen(said.append):
        stop.check()
        press(stop, lambda: said)
        assert (stop.soon, stop.at_once) == (True, False)
        with pytest.raises(Interrupted):
            stop.check()
    assert said == [NOTICE]


def test_a_ctrl_c_that_arrives_in_a_thread_of_a_library_is_heeded_too():
    """numpy's BLAS starts threads when it is imported, and the kernel may give them any signal that they do not block."""
    stop, said, over = Stop(), [], threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        with stop.listen(said.append):
            signal.pthread_kill(other.ident, signal.SIGINT)
            until(lambda: said)
            assert (stop.soon, stop.at_once) == (True, False)
    finally:
        over.set()
        other.join()
    assert said == [NOTICE]


def test_the_second_ctrl_c_interrupts_whatever_the_main_thread_waits_for():
    stop, said = Stop(), []
    reader, _writer = os.pipe()
    with stop.listen(said.append), pytest.raises(KeyboardInterrupt):
        press(stop, lambda: said)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        os.read(reader, 1)
    assert stop.at_once


def test_what_polls_is_not_interrupted():
    stop, said = Stop(), []
    with stop.listen(said.append), stop.polled():
        press(stop, lambda: said)
        press(stop, lambda: stop.at_once)
    assert stop.soon


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_the_session_stops_at_once(number):
    stop = Stop()
    with stop.listen(lambda text: None), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
        time.sleep(30)
    assert stop.at_once


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_come_together_stop_once_and_what_ends_in_order_is_not_interrupted(second):
    stop, tidied = Stop(), []
    with stop.listen(lambda text: None), pytest.raises(KeyboardInterrupt):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(HANGS)
        finally:
            os.kill(os.getpid(), second)
            time.sleep(0.01)  # a handler of Python's runs between two of its instructions
            tidied.append(True)
    assert tidied == [True]


def test_handlers_and_mask_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    threads = threading.active_count()
    with Stop().listen(lambda text: None):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert threading.active_count() == threads


def test_a_child_in_the_foreground_survives_the_ctrl_c_that_the_terminal_sends_to_all():
    stop, said = Stop(), []
    with stop.listen(said.append):
        child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], stdin=-1, stdout=-1)
        assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        press(stop, lambda: said)
        child.communicate(b"\n", timeout=HANGS)
    assert child.returncode == 0


def test_under_nohup_the_end_of_the_session_stops_nothing():
    code = (
        "import os, signal\n"
        "from harness.campaign.stop import Stop\n"
        "with Stop().listen(print):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('went on')"
    )
    done = subprocess.run(["nohup", sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS)
    assert "went on" in done.stdout
