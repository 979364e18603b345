"""Lesson 10's graders take a reader's own ways to write it, and its reports show their signs
(what every lesson's graders do: test_grader.py).
"""

import math

import numpy as np
import pytest
import torch
from contracts import StubContract

from course_lib.exercises import gallery_10, lesson_10
from course_lib.metrics import Moments, frechet_distance, precision_recall

EXERCISES = (lesson_10.FLOOR, lesson_10.NEIGHBOURS, lesson_10.MIXTURE, lesson_10.SECONDS)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
class TestExercises(StubContract):
    """Each of the lesson's."""


# ---- a reader's own ways


def test_the_floor_by_moments_or_by_a_loop():
    def by_moments(train, test, n, draws):
        whole = Moments.of(test)
        found = [
            frechet_distance(Moments.of(train[i * n : (i + 1) * n]), whole)
            for i in range(draws)
        ]
        return float(np.mean(found))

    def by_reshape(train, test, n, draws):
        lots = train[: n * draws].reshape(draws, n, -1)
        return torch.tensor([frechet_distance(lot, test) for lot in lots]).mean()

    assert lesson_10.FLOOR(by_moments) and lesson_10.FLOOR(by_reshape)


def test_precision_and_recall_by_the_library_or_by_loops():
    def by_library(real, made, k):
        return torch.tensor(precision_recall(real, made, k))

    def by_topk(real, made, k):
        def share(asked, crowd):
            reach = torch.cdist(crowd, crowd).topk(k + 1, largest=False).values[:, -1]
            return (torch.cdist(asked, crowd) <= reach).any(dim=1).float().mean()

        return torch.stack([share(made, real), share(real, made)])

    def by_loops(real, made, k):
        def share(asked, crowd):
            hits = 0
            for point in asked:
                for centre in crowd:
                    reach = (crowd - centre).norm(dim=1).sort().values[k]
                    if (point - centre).norm() <= reach:
                        hits += 1
                        break
            return hits / len(asked)

        return torch.tensor([share(made, real), share(real, made)])

    for attempt in (by_library, by_topk, by_loops):
        assert lesson_10.NEIGHBOURS(attempt), lesson_10.NEIGHBOURS(attempt)


def test_the_mixture_in_other_words():
    def by_logsumexp(log_p, share, D):
        both = torch.stack(
            [
                log_p + np.log(share),
                torch.full_like(log_p, np.log(1 - share) - D * np.log(256)),
            ]
        )
        return -both.logsumexp(0) / D / np.log(2)

    def by_hand(log_p, share, D):
        a = log_p + math.log(share)
        b = math.log(1 - share) - 8 * D * math.log(2)
        most = a.clamp(min=b)
        return -(most + ((a - most).exp() + (b - most).exp()).log()) / (D * math.log(2))

    assert lesson_10.MIXTURE(by_logsumexp) and lesson_10.MIXTURE(by_hand)


def test_the_mixture_costs_at_most_what_the_lesson_says():
    bound = math.log(100) / (784 * math.log(2))
    assert bound == pytest.approx(0.0085, abs=5e-5)
    log_p = torch.linspace(-5000, -800, 50, dtype=torch.float64)
    plain = -log_p / (784 * math.log(2))
    dearer = lesson_10.mixture_bits(log_p, 0.01, 784) - plain
    assert (dearer <= bound + 1e-9).all()
    assert (dearer[plain < 7.9] > bound - 1e-6).all()  # all of it, where the die is no help
    assert (dearer[plain > 8.1] < 0).all()  # and a gain, where it is
    # the probabilities of all pictures of one pixel add up to 1
    levels = torch.log_softmax(torch.randn(256, dtype=torch.float64), dim=0)
    bits = lesson_10.mixture_bits(levels, 0.3, 1)
    assert (2**-bits).sum().item() == pytest.approx(1)


def test_equal_seconds_by_a_loop_or_by_sorting():
    def by_loop(budget, seconds, distance):
        found, ways = [], list(zip(seconds.tolist(), distance.tolist(), strict=True))
        for b in budget.tolist():
            payable = [d for s, d in ways if s <= b + 1e-9]
            found.append(min(payable, default=math.inf))
        return torch.tensor(found)

    def by_sorting(budget, seconds, distance):
        order = seconds.argsort()
        best = torch.cat([torch.tensor([torch.inf]), distance[order].cummin(0).values])
        return best[torch.searchsorted(seconds[order], budget, right=True)]

    assert lesson_10.SECONDS(by_loop) and lesson_10.SECONDS(by_sorting)


def cheap(budget, seconds, distance, put=0.0):
    return distance.where(seconds <= budget[:, None], put)


@pytest.mark.parametrize(
    ("exercise", "attempt", "hint"),
    [
        (
            lesson_10.MIXTURE,
            lambda log_p, share, D: torch.logaddexp(
                log_p + math.log(share), math.log(1 - share) - D * math.log(256)
            ),
            "torch.full_like",
        ),
        (lesson_10.SECONDS, lambda *case: cheap(*case).amin(dim=1), "wins every minimum"),
        (lesson_10.SECONDS, lambda *case: cheap(*case, put=999.0).amin(dim=1), "inf is the"),
        (lesson_10.SECONDS, lambda *case: cheap(*case, put=torch.inf).min(dim=1), ".values"),
    ],
)
def test_slips_are_named(exercise, attempt, hint):
    verdict = exercise(attempt)
    assert verdict.state == "wrong" and hint in verdict.text


# ---- the reports


@pytest.fixture(scope="module")
def reports():
    return {bug: gallery_10.report(bug) for bug in gallery_10.BUGS}


def test_each_report_shows_its_sign_and_no_other(reports):
    right, rival = reports[1], gallery_10.rival()
    for name in gallery_10.NAMES:
        assert right[name] == pytest.approx(rival[name], rel=0.15), name
    assert abs(right["distance"] - right["on valid"]) < 0.2 * right["distance"]
    for bug, found in reports.items():
        raised = found["floor"] > 2 * right["floor"]
        stays = found["floor, 4 n"] > 2 * right["floor"]
        assert raised == (bug in (2, 4)) and stays == (bug == 4)
        assert (found["distance"] < found["floor"]) == (bug == 3)
        better = found["distance"] < 0.75 * found["on valid"]
        assert better == (bug in (3, 5))
        assert (found["ms a call"] != right["ms a call"]) == (bug == 6)
        assert (found["precision"] < found["recall"]) == (bug == 7)
        worse = found["distance"] > 2 * right["distance"]
        assert (worse and not raised) == (bug == 8)
    assert reports[8]["precision"] > right["precision"]
    assert reports[8]["recall"] < right["recall"] - 0.1
    assert reports[2]["floor, 4 n"] == pytest.approx(right["floor"], rel=1e-6)


def test_the_gallery_grades():
    key = gallery_10.GALLERY.key
    assert sorted(key.values()) == sorted(gallery_10.BUGS)
    assert list(gallery_10.gallery()) == list(key)
    assert gallery_10.GALLERY(key)
    verdict = gallery_10.GALLERY({**key, "A": key["B"], "B": key["A"]})
    assert "6 of 8 right" in verdict.text and gallery_10.BUGS[key["B"]].sign in verdict.text
