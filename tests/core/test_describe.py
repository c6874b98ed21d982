import numpy as np

from napari_medvlsm.core.describe import MaskDescription, describe


def test_one_component_top_right():
    mask = np.zeros((90, 120), np.uint8)
    mask[5:20, 100:115] = 255
    assert describe(mask) == MaskDescription("one", "small", "top right")


def test_two_components_list_sizes_from_small_to_large_and_places_in_reading_order():
    mask = np.zeros((100, 100), bool)
    mask[60:99, 1:99] = True
    mask[10:20, 10:20] = True
    assert describe(mask) == MaskDescription("two", "small, large", "top left, bottom")


def test_columns_are_thirds_of_the_width():
    mask = np.zeros((30, 300), bool)
    mask[12:18, 140:160] = True
    assert describe(mask).location == "center"


def test_specks_do_not_count_unless_alone():
    mask = np.zeros((200, 200), bool)
    mask[0, 0] = True
    assert describe(mask).number == "one" and describe(mask).size == "tiny"
    mask[100:150, 100:150] = True
    assert describe(mask).number == "one" and describe(mask).location == "center"


def test_empty_and_many():
    assert describe(np.zeros((5, 5))) == MaskDescription("", "", "")
    dots = np.zeros((50, 50), bool)
    dots[::5, ::5] = True
    assert describe(dots).number == "many"
