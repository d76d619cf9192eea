from qupersync_shared.kernel.errors import ConfigurationError, PageRefusedError, QupersyncError, TerminalError


def test_an_error_says_what_is_wrong_and_then_what_cures_it() -> None:
    assert str(PageRefusedError("keys do not ascend", cure="Choose another key")) == (
        "keys do not ascend. Choose another key"
    )
    assert str(QupersyncError("it broke")) == "it broke"
    assert isinstance(PageRefusedError("x"), TerminalError)


def test_a_configuration_error_names_its_place_first() -> None:
    error = ConfigurationError("the key is missing", place="qupersync.yaml:3: pipelines.orders.key", cure="Add one")

    assert str(error) == "qupersync.yaml:3: pipelines.orders.key: the key is missing. Add one"
    assert (error.place, error.cure) == ("qupersync.yaml:3: pipelines.orders.key", "Add one")
