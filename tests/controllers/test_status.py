"""The status line."""

from napari_medvlsm.controllers.status import Status


def test_what_goes_on_never_hides_what_happened():
    status = Status()
    status.say("The engine stopped.", problem=True)
    status.say("Preparing the scan…", passing=True)
    assert status.now.text == "The engine stopped."
    status.passed("Ready.")
    assert status.now.text == "The engine stopped."
    status.say("Done.")
    status.say("Preparing the scan…", passing=True)
    assert status.now.text == "Done."
    status.say("")
    status.say("Segmenting…", passing=True)
    assert status.now.text == "Segmenting…"


def test_a_problem_goes_with_its_cause_and_nothing_else_does(heard):
    status = Status()
    shown = heard(status.changed)
    status.say("Choose what to outline.", problem=True, cause="asked")
    status.over("engine")
    assert status.now.problem
    status.over("asked")
    assert status.now.text == "" and len(shown) == 2
    status.say("Saved x.tif.", cause="asked")
    status.over("asked")
    assert status.now.text == "Saved x.tif."


def test_what_went_on_makes_way():
    status = Status()
    status.say("Segmenting…", passing=True)
    status.passed("Ready.")
    assert status.now.text == "Ready."
    status.say("Saved x.tif.")
    status.passed("Ready.")
    assert status.now.text == "Saved x.tif."
