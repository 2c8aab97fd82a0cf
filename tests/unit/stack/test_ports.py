"""Ports are the preferred ones where free, and a taken one is a sentence that names its holder."""

import os
import socket
from collections.abc import Iterator

import pytest

from jettythunder_dev.errors import StackError
from jettythunder_dev.ports import PortAllocator, require_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_passed_over(taken: int) -> None:
    assert PortAllocator(remembered={}, held={}).choose("postgres", taken) > taken


def test_no_port_is_given_twice(taken: int) -> None:
    allocator = PortAllocator(remembered={}, held={})
    assert allocator.choose("one", taken) != allocator.choose("other", taken)


def test_the_port_of_the_last_start_is_kept(taken: int) -> None:
    free = PortAllocator(remembered={}, held={}).choose("postgres", taken)
    assert PortAllocator(remembered={"postgres": free}, held={}).choose("postgres", taken + 300) == free


def test_a_port_that_the_running_stack_holds_is_its_own(taken: int) -> None:
    assert PortAllocator(remembered={}, held={"postgres": taken}).choose("postgres", 1) == taken


def test_the_error_names_the_holder_and_the_variable(taken: int) -> None:
    with pytest.raises(StackError, match=rf"Port {taken} is in use by .*pid {os.getpid()}.*GATEWAY_PORT="):
        require_free(taken, "GATEWAY_PORT")


def test_a_port_whose_program_has_ended_is_claimed_anew(taken: int) -> None:
    free = PortAllocator(remembered={}, held={}).choose("gateway", taken + 300)
    known = {"gateway": free}
    ours, other = PortAllocator(remembered=known, held=known), PortAllocator(remembered={}, held={})
    assert ours.choose("gateway", taken) == free
    assert other.choose("gateway", free) != free
