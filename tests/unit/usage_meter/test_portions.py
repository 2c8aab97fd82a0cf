"""How much is rolled up at once: less after time-outs, more again when it is quick."""

from usage_meter.rollups.model import Portion


def test_after_time_outs_there_are_fewer_accounts_and_then_fewer_hours_of_one() -> None:
    portion = Portion()
    seen = [portion]
    while portion != portion.smaller():
        portion = portion.smaller()
        seen.append(portion)
    assert portion == Portion(accounts=1, hours=1)
    assert len(seen) < 12
    assert all(each.accounts == 1 for each in seen if each.hours < Portion().hours)


def test_quick_work_grows_back_and_slow_work_stays() -> None:
    portion = Portion(accounts=1, hours=1)
    assert portion.after(5.0) == portion
    for _ in range(30):
        portion = portion.after(0.1)
    assert portion == Portion()
