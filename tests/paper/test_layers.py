from gcp_repro.metalayers import META_LAYERS
from gcp_repro.paper.layers import FURTHER_COLOURS, LAYERS, REFERENCE_LAYER, layer_order, layer_style


def test_layers_of_the_paper_have_colours_of_their_own():
    colours = [style.colour for style in LAYERS.values()]
    assert len(set(colours)) == len(colours)
    assert not set(colours) & set(FURTHER_COLOURS)
    assert LAYERS[REFERENCE_LAYER].published


def test_further_layers_keep_their_colour_and_come_in_alphabetical_order():
    further = [name for name in META_LAYERS if name not in LAYERS]
    assert further
    assert all(layer_style(name).colour in FURTHER_COLOURS for name in [*further, "not_registered"])
    assert layer_style("not_registered") == layer_style("not_registered")
    assert sorted([*further, *LAYERS], key=layer_order) == [*LAYERS, *sorted(further)]
