"""The tables of 2018 are all there, and today's rows stand beside them only where they may."""

from dataclasses import replace

import pytest
from rosetta.report import historical

from . import sample_rows

# Copied by hand from the published tables, one or two of every column: K80, P100, accuracy.
CNN = {
    "Caffe2": (148, 54, 0.785),
    "Chainer": (162, 69, 0.790),
    "CNTK": (163, 53, 0.770),
    "Gluon": (152, 57, 0.765),
    "Keras(CNTK)": (194, 76, 0.764),
    "Keras(TF)": (241, 76, 0.768),
    "Keras(Theano)": (269, 93, 0.753),
    "TensorFlow": (173, 57, 0.772),
    "Lasagne(Theano)": (253, 65, 0.761),
    "MXNet": (145, 52, 0.774),
    "PyTorch": (169, 51, 0.775),
    "Knet": (159, None, 0.775),
    "R-Keras(TF)": (205, 72, 0.769),
}
GRU = {
    "CNTK": (32, 15, 0.857),
    "Keras(CNTK)": (86, 53, 0.861),
    "Keras(TF)": (35, 26, 0.855),
    "MXNet": (29, 24, 0.859),
    "Gluon": (None, None, 0.858),
    "PyTorch": (31, 16, 0.862),
    "TensorFlow": (30, 22, 0.860),
    "Knet": (29, None, 0.845),
    "R-Keras(TF)": (35, 25, 0.851),
}
RESNET = {
    "Caffe2": (14.1, 7.9),
    "Chainer": (9.3, 2.7),
    "CNTK": (8.5, 1.6),
    "Gluon": (None, 1.7),
    "Keras(CNTK)": (21.7, 5.9),
    "Keras(TF)": (10.2, 2.9),
    "TensorFlow": (6.5, 1.8),
    "MXNet": (7.7, 1.6),
    "PyTorch": (7.7, 1.9),
    "Knet": (6.3, None),
    "R-Keras(TF)": (17, 7.4),
}
# V100: files on 1 and 4, synthetic on 1 and 4, AUC on 1 and 4
CHEXNET = {
    "PyTorch": ("26:50", "9:43", "25:14", "8:27", 0.816, 0.808),
    "Keras(TF)": ("37:56", "17:50", "35:51", "15:26", 0.815, 0.811),
    "TensorFlow": ("33:29", "22:11", "25:25", "13:55", 0.801, 0.812),
    "Chainer": ("28:49", "8:25", "27:19", "7:23", 0.802, 0.551),
    "Gluon": ("28:40", "9:43", "27:45", "8:26", 0.824, 0.815),
}
CHEXNET_P100 = {  # files on 1, 2 and 4, synthetic on 4
    "PyTorch": ("41:46", "28:50", "23:07", "11:48"),
    "Keras(TF)": ("51:27", "32:01", "22:49", "18:30"),
    "TensorFlow": ("62:08", "44:13", "31:04", "17:10"),
}
LAYERS = {  # ms: forward, backward, total of PyTorch, then of Flux
    "Conv3x3/1": (0.231, 0.536, 0.774, 0.198, 0.764, 0.962),
    "Conv5x5/1": (0.267, 0.535, 0.830, 0.207, 0.808, 1.014),
    "Conv3x3/2": (0.117, 0.220, 0.338, 0.093, 0.599, 0.692),
    "Conv5x5/2": (0.123, 0.216, 0.341, 0.094, 0.652, 0.746),
    "Dense": (0.089, 0.152, 0.241, 0.043, 0.204, 0.248),
    "BatchNorm": (0.110, 0.200, 0.310, 0.221, 0.285, 0.506),
}
MODELS = {  # seconds: PyTorch, Flux
    "VGG16": (0.0852, 0.1047),
    "VGG16 with BN": (0.0943, 0.1151),
    "VGG19": (0.1021, 0.1278),
    "VGG19 with BN": (0.1134, 0.1342),
    "ResNet-18": (0.0190, 0.0297),
    "ResNet-34": (0.0307, 0.0450),
    "ResNet-50": (0.0506, 0.2000),
    "ResNet-101": (0.0676, 0.0831),
    "ResNet-152": (0.0965, 0.1115),
}


def find(**wanted):
    return [
        number
        for number in historical.numbers()
        if all(getattr(number, key) == value for key, value in wanted.items())
    ]


def value(**wanted):
    """The only number with these properties, None where there is none."""
    found = find(**wanted)
    assert len(found) <= 1, f"{wanted}: {found}"
    return found[0].value if found else None


def seconds(printed):
    minutes, rest = printed.split(":")
    return 60 * int(minutes) + int(rest)


FINAL = "DeepLearningFrameworks README, final"
EARLIER = "DeepLearningFrameworks README, earlier"


@pytest.mark.parametrize(
    "workload, table", [("cnn_cifar10", CNN), ("gru_imdb", GRU), ("resnet50_features", RESNET)]
)
def test_times_and_accuracies_of_every_framework(workload, table):
    for framework, (k80, p100, *accuracy) in table.items():
        who = {"workload": workload, "framework": framework, "source": FINAL}
        assert value(machine="K80", **who) == k80
        assert value(machine="P100", **who) == p100
        assert {number.accuracy for number in find(**who)} == set(accuracy or [None])
    assert {n.framework for n in find(workload=workload)} == set(table)


def test_where_the_two_versions_of_the_page_differ_both_are_kept():
    early = {"source": EARLIER, "machine": "P100"}
    assert value(workload="cnn_cifar10", framework="Gluon", **early) == 62
    assert value(workload="cnn_cifar10", framework="MXNet", **early) == 51
    assert value(workload="resnet50_features", framework="MXNet", **early) == 2.0


def test_chexnet_on_one_to_four_devices():
    workload = {"workload": "densenet_chexnet"}
    for framework, (*times, auc1, auc4) in CHEXNET.items():
        who = {**workload, "framework": framework, "machine": "V100"}
        places = [("files", 1), ("files", 4), ("synthetic", 1), ("synthetic", 4)]
        for (feed, devices), printed in zip(places, times):
            assert value(feed=feed, devices=devices, **who) == seconds(printed)
        assert [find(feed="files", devices=d, **who)[0].auc for d in (1, 4)] == [auc1, auc4]
    for framework, times in CHEXNET_P100.items():
        who = {**workload, "framework": framework, "machine": "P100"}
        places = [("files", 1), ("files", 2), ("files", 4), ("synthetic", 4)]
        for (feed, devices), printed in zip(places, times):
            assert value(feed=feed, devices=devices, **who) == seconds(printed)


def test_layers_and_whole_models():
    for item, times in LAYERS.items():
        found = [
            value(item=item, framework=framework, quantity=quantity)
            for framework in ("PyTorch 0.4.1", "Flux 0.6.8+")
            for quantity in ("forward", "backward", "total")
        ]
        assert found == pytest.approx([1e-3 * ms for ms in times])
    for item, times in MODELS.items():
        found = [value(item=item, framework=f) for f in ("PyTorch 0.4.1", "Flux 0.6.8+")]
        assert found == pytest.approx(list(times))
    headline = "BatchNorm(100) on 10x100x224x224"
    assert [n.value for n in find(item=headline)] == pytest.approx([1.860, 2.782e-3])


def test_every_number_has_source_date_and_unit():
    for number in historical.numbers():
        assert number.source and number.date.startswith("2018") and number.unit == "s"


# ---- Beside today's rows -----------------------------------------------------------------------


def beside(rows, workload):
    table = historical.by_machine(rows, {workload})[0]
    return table, {row[0]: dict(zip(table.columns, row)) for row in table.cells}


def today(line):
    return {column: cell for column, cell in line.items() if sample_rows.MACHINE in column}


def test_every_framework_of_2018_keeps_its_row_and_today_goes_on_with_some():
    table, lines = beside(sample_rows.cnn("official"), "cnn_cifar10")
    goes_on = {"PyTorch": "PyTorch", "Gluon": "MXNet Gluon", "Keras(TF)": "Keras on TensorFlow"}
    for framework, (k80, p100, accuracy) in CNN.items():
        line = lines[goes_on.get(framework, framework)]
        assert line["K80 (2018)"] == str(k80)
        assert line["P100 (2018)"].partition(" ")[0] == (str(p100) if p100 else "-")
        assert line["accuracy (2018)"] == f"{100 * accuracy:.1f} %"
    assert lines["MXNet"]["P100 (2018)"] == "52 (earlier 51)"
    assert lines["PyTorch, compile"]["K80 (2018)"] == "-"
    assert "one run each" in table.note


def test_a_row_of_today_has_the_time_of_the_whole_job_of_2018():
    _, lines = beside(sample_rows.cnn("official"), "cnn_cifar10")
    assert list(today(lines["PyTorch"]).values()) == ["664", "61.1 % (250 steps)"]  # 7,810 x 85 ms
    _, lines = beside(sample_rows.gru(), "gru_imdb")
    assert "74.9" in today(lines["PyTorch"]).values()  # 1,170 x 64 ms
    _, lines = beside(sample_rows.resnet(), "resnet50_features")
    assert list(today(lines["PyTorch"]).values()) == ["181"]  # 1,000 images, 2.9 s for 16


def test_rows_of_the_smoke_profile_never_stand_beside_2018():
    table, lines = beside(sample_rows.cnn(profile="smoke"), "cnn_cifar10")
    assert not any(sample_rows.MACHINE in column for column in table.columns)
    assert set(lines) == set(CNN)
    assert "9 rows of the smoke profile are left out" in table.note


def test_stand_in_data_and_missing_parity_are_marked():
    rows = [replace(sample_rows.cnn()[0], parity=None), *sample_rows.cnn()[1:]]
    table, lines = beside(rows, "cnn_cifar10")
    assert any("STAND-IN DATA" in column for column in table.columns)
    assert "664 (parity: unverified)" in lines["PyTorch"].values()
    assert "661 (parity: outside)" in lines["PyTorch, fused"].values()


def test_of_two_versions_the_newest_run_stands():
    old = replace(sample_rows.gru()[0], run="20260101T000000Z-quick", samples_per_second=1.0)
    for rows in ([old, sample_rows.gru()[0]], [sample_rows.gru()[0], old]):
        _, lines = beside(rows, "gru_imdb")
        assert "74.9" in lines["PyTorch"].values()
