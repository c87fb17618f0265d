from dataclasses import replace

from pamprof.analysis.comparison.crossovers import STEADY_STEP
from pamprof.analysis.comparison.names import names_of
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.prediction.crossing import best_arms, crossovers_by_gpu
from pamprof.analysis.prediction.gpu import gpu_named
from pamprof.analysis.prediction.measured import measured_devices
from pamprof.analysis.prediction.predict import predict
from pamprof.analysis.prediction.resources import MemoryFit, MemoryNeed
from pamprof.pricing.predicted_cost import priced
from pamprof.pricing.rates.catalogue import load_catalogue
from pamprof.records import Phase
from pamprof.render.plots.picture import draw_svg
from pamprof.render.prediction.charts import crossover_chart
from pamprof.render.prediction.view import main_points, prediction_view
from tests.synthetic import synthetic_records


def test_measured_gpus_are_filled_and_predicted_ones_hollow_on_one_page():
    records = synthetic_records()
    measured = measured_devices(records)
    predictions = predict(measured, [gpu_named("H200"), gpu_named("A100-80GB-SXM")])
    names = names_of(records.sessions, [each.workload for each in predictions])
    view = prediction_view(priced(predictions, load_catalogue(None)), measured, names)
    dollars, crossover = view.charts[0], view.charts[-1]
    bases = {curve.label: curve.spots[0].basis for panel in dollars.panels for curve in panel.curves}
    assert bases == {"H200": Basis.MEASURED, "A100-80GB-SXM": Basis.MODELLED}
    lines = {curve.label: curve.pieces[0].basis for panel in crossover.panels for curve in panel.curves}
    assert lines == bases
    assert "fill" in draw_svg(dollars, narrow=True)
    (memory,) = [chart for chart in view.charts if chart.name == "gpus-memory"]
    places = {curve.label: curve.spots[0] for curve in memory.panels[1].curves}  # the transformer and its cache
    assert (places["H200"].x, places["A100-80GB-SXM"].x) == (141, 80)
    assert {spot.basis for spot in places.values()} == {Basis.MODELLED}
    point = main_points(predictions)[Phase.DECODE]
    arms = next(each for each in best_arms(predictions, names.layers) if each.point == point and each.gpu != "H200")
    run = next(run for run in records.runs if run.workload == arms.reference.workload)
    held = run.memory.parameter_bytes
    each = (run.memory.peak_bytes - held) / run.workload.batch_size
    besides = run.memory.device_used_bytes - run.memory.reserved_bytes
    assert places["A100-80GB-SXM"].value.median == int((0.931 * 80 * 2**30 - besides - held) / each)


def test_a_crossover_compares_with_references_common_to_all_its_lengths():
    records = synthetic_records()
    predictions = predict(measured_devices(records), [gpu_named("H200")])
    names = names_of(records.sessions, [each.workload for each in predictions])
    (prefill,) = [each for each in crossovers_by_gpu(predictions, names.layers) if each.phase == "prefill"]
    # The fastest of PAM, its graph, over the transformer's: 3.5 over 1.38 ms at 2k, 17.9 (gauss) over 18.0 ms at 16k.
    (short, first), (long, last) = prefill.places
    assert (short, long) == (2048, 16384)
    assert abs(first.median / (3.5 / 1.38) - 1) < 0.02
    assert abs(last.median / (17.9 / 18.0) - 1) < 0.02
    best = {
        each.point.sequence_length: each
        for each in best_arms(predictions, names.layers)
        if each.point.phase == "prefill"
    }
    assert best[16384].subject.workload.implementation == "gauss"


def test_a_gpu_into_which_the_step_may_not_fit_is_marked_and_in_no_title():
    """76 of 80 GiB is above the 93.1 % that every board lets tensors have."""
    records = synthetic_records()
    measured = measured_devices(records)
    gpus = [gpu_named(name) for name in ("H200", "H100-SXM", "A100-80GB-SXM")]
    predictions = tuple(
        replace(each, memory=MemoryNeed(needed_bytes=76 * 2**30, available_bytes=80 * 2**30))
        if each.gpu == "A100-80GB-SXM"
        else each
        for each in predict(measured, gpus)
    )
    assert {each.memory.fit for each in predictions if each.gpu != "A100-80GB-SXM"} == {MemoryFit.YES}
    names = names_of(records.sessions, [each.workload for each in predictions])
    view = prediction_view(priced(predictions, load_catalogue(None)), measured, names)
    for dollars in (chart for chart in view.charts if "dollars" in chart.axis):
        assert dollars.title.startswith("By the medians")
        assert "A100-80GB-SXM" not in dollars.title
        assert "may not" in dollars.caption
        for panel in dollars.panels:
            assert {curve.label for curve in panel.curves} == {"H200", "H100-SXM", "A100-80GB-SXM, may not fit"}


def test_steps_of_about_as_many_tokens_have_one_name_in_table_and_picture():
    records = synthetic_records()
    measured = measured_devices(records)
    predictions = predict(measured, [gpu_named("H200")])
    names = names_of(records.sessions, [each.workload for each in predictions])
    view = prediction_view(priced(predictions, load_catalogue(None)), measured, names)
    titles = [panel.title for panel in view.charts[-1].panels]
    assert [row[1] for row in view.tables[-1].rows] == titles
    steady = [
        replace(each, batch_size=STEADY_STEP, phase=Phase.TRAIN)
        for each in crossovers_by_gpu(predictions, names.layers)
    ]
    assert crossover_chart(steady)[0].panels[0].title == "Training, steps of about as many tokens"
