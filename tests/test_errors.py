"""The tree of errors: one root, the built-ins callers expect, messages with data."""

import inspect
import pickle

import pytest

from cluster import errors

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_cluster_error_with_a_docstring_and_is_in_the_drawn_tree(kind):
    assert issubclass(kind, errors.ClusterError)
    assert kind.__doc__
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__name__ in errors.__all__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.OptionsError, ValueError),
        (errors.UnitsError, errors.OptionsError),
        (errors.ConfigError, ValueError),
        (errors.UnknownProfile, errors.ConfigError),
        (errors.UnknownProfile, LookupError),
        (errors.UnknownJob, LookupError),
        (errors.WaitTimeout, TimeoutError),
        (errors.PayloadError, TypeError),
        (errors.JobTimeout, errors.JobFailed),
    ],
)
def test_an_error_is_caught_as_what_callers_expect(kind, builtin):
    assert issubclass(kind, builtin)


def test_a_failed_command_names_command_code_words_and_advice():
    error = errors.CommandFailed(["sbatch", "job.sh"], 1, "Invalid partition\n", "Use short.")

    assert str(error) == 'sbatch job.sh failed with code 1: "Invalid partition"\nUse short.'
    assert (error.argv, error.code) == (("sbatch", "job.sh"), 1)


def test_a_failed_job_keeps_its_data_through_a_pickle():
    error = errors.JobTimeout("17", "TIMEOUT", name="fit", reason="walltime", stderr_tail="slow")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is errors.JobTimeout
    assert (copy.id, copy.reason, str(copy)) == ("17", "walltime", str(error))
    assert str(copy) == "job 17 (fit) is TIMEOUT: walltime\nThe end of its standard error:\nslow"


def test_what_a_function_raised_is_told_once_though_it_is_in_its_error_output_too():
    text = "Traceback (most recent call last):\nOdd: odd\n"

    error = errors.JobFailed("7", "FAILED", reason=f"it raised Odd: odd\n{text}", stderr_tail=text)

    assert str(error).count("Traceback") == 1
    assert error.stderr_tail == text
    other = errors.JobFailed("7", "FAILED", reason="exit code 1", stderr_tail="no file\n")
    assert str(other).endswith("The end of its standard error:\nno file")
