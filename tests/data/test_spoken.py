"""The vendored clips are what they say they are; placing, framing and companding do what their docstrings promise."""

import cmath
import math
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from minattn import weights
from minattn.data import make_spoken, spoken
from minattn.data.spoken import RATE, WORDS


@pytest.fixture(scope="module")
def real():
    return spoken.load()


def sine(f, seconds, rate=RATE):
    return np.sin(2 * np.pi * f * np.arange(round(seconds * rate)) / rate)


# the vendored file


def test_what_is_there(real):
    assert spoken.DATA.stat().st_size <= 1_500_000
    assert real.samples.dtype == np.float64 and abs(real.samples).max() <= 1
    assert real.ends.dtype == real.digit.dtype == real.voice.dtype == np.int64
    assert real.rate == RATE and len(WORDS) == 10
    seconds = np.diff(real.ends, prepend=0) / RATE
    assert seconds.min() > 0.2 and seconds.max() < 0.75
    assert real.ends[-1] == len(real.samples)
    said = {(int(voice), int(digit)) for voice, digit in zip(real.voice, real.digit, strict=True)}
    assert len(said) == len(real.ends) == 10 * len(real.voices) == 410  # each voice says each digit once


def test_every_clip_is_loud_and_trimmed(real):
    begins = np.concatenate([[0], real.ends[:-1]])
    for i, (begin, end) in enumerate(zip(begins, real.ends, strict=True)):
        sound = spoken.clip(real, i)
        assert (sound == real.samples[begin:end]).all()
        assert abs(sound).max() == 1 and abs(sound.mean()) < 0.03
        assert 0.05 < math.sqrt((sound**2).mean()) < 0.5
        assert abs(sound[:80]).max() > 0.003 and abs(sound[-80:]).max() > 0.003  # the threshold, within 10 ms


def test_voices_are_disjoint(real):
    train, test = spoken.split(real)
    assert len(train) == 310 and len(test) == 100
    assert sorted([*train, *test]) == list(range(410))
    assert set(real.voice[train]).isdisjoint(real.voice[test])
    accents, variants = zip(*(re.match(r"(\S+)\+(\S+),", name).groups() for name in real.voices), strict=True)
    assert len(set(variants)) == len(real.voices)  # so no variant is in both
    assert {variants[i] for i in real.held_out} == set(make_spoken.HELD_OUT)
    assert f"never\nuse: {' '.join(make_spoken.HELD_OUT)} (" in spoken.__doc__
    assert {variants[i] for i in real.voice[train]} == set(make_spoken.TRAIN)
    assert {accents[i] for i in real.voice[train]} == {accents[i] for i in real.voice[test]}
    for part in (train, test):
        assert len(set(np.bincount(real.digit[part]))) == 1


def test_it_says_plainly_that_no_person_speaks(real):
    assert real.about.startswith("Synthetic speech") and "no person" in real.about
    assert "synthetic" in spoken.__doc__
    note = (spoken.DATA.parent / "licenses" / "SpokenDigits.txt").read_text(encoding="utf-8")
    assert "synthetic speech" in note
    for version in re.findall(r"[\d.]+\d", real.about):
        assert version in note


def test_other_voices_say_the_same_words(real):
    """Stretched to the same length, a test clip lies nearest the training clips of its own digit."""
    pictures = []
    for i in range(len(real.ends)):
        frames = spoken.log_mel(np.pad(spoken.clip(real, i), 100), hop=0.01)
        frames = np.maximum(frames, frames.max() - 9)
        picture = frames[np.linspace(0, len(frames) - 1, 16).round().astype(int)]
        pictures.append((picture - picture.mean()).ravel())
    pictures = np.array(pictures)
    train, test = spoken.split(real)
    means = np.array([pictures[train][real.digit[train] == digit].mean(axis=0) for digit in range(10)])
    nearest = ((pictures[:, np.newaxis] - means) ** 2).sum(axis=-1).argmin(axis=1)
    right = nearest == real.digit
    assert right[train].mean() > 0.95 and right[test].mean() > 0.9
    assert min(right[real.voice == voice].mean() for voice in range(len(real.voices))) >= 0.7  # no voice mumbles


# files that are not right


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz is missing: .*make_spoken"):
        spoken.load(tmp_path / "nowhere.npz")


SMALL = {
    "codes": np.array([128, 255, 1, 130], np.uint8),
    "ends": np.array([1, 4], np.int32),
    "digit": np.array([9, 0], np.uint8),
    "voice": np.array([0, 1], np.uint8),
}
ABOUT = {"about": "made up", "rate": RATE, "voices": ["one", "two"], "held_out": [1]}


def test_a_small_file(tmp_path):
    weights.save(path := tmp_path / "small.npz", SMALL, ABOUT)
    found = spoken.load(path)
    assert found.samples[:3].tolist() == [0, 1, -1] and spoken.clip(found, 1).tolist() == found.samples[1:].tolist()
    assert found.voices == ("one", "two") and [part.tolist() for part in spoken.split(found)] == [[0], [1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": None}, "codes is not in it"),
        ({"codes": {"inner": np.zeros(4, np.uint8)}}, "'dict' object has no attribute 'dtype'"),
        ({"codes": np.zeros(4)}, r"codes is float64 \(4,\), expected uint8 \(samples,\)"),
        ({"codes": np.zeros((2, 2), np.uint8)}, r"codes is uint8 \(2, 2\)"),
        ({"codes": np.zeros(5, np.uint8)}, "ends does not cut 5 samples into clips"),
        ({"ends": np.array([4, 4])}, "ends does not cut 4 samples into clips"),
        ({"ends": np.array([0, 4])}, "ends does not cut 4 samples into clips"),
        ({"ends": np.array([5, 4], np.uint8)}, "ends does not cut 4 samples into clips"),
        ({name: np.zeros(0, np.uint8) for name in SMALL}, "ends does not cut 0 samples into clips"),
        ({"ends": np.array([1.0, 4.0])}, "ends is float64"),
        ({"digit": np.array([1], np.uint8)}, r"digit is uint8 \(1,\), expected one integer for each clip"),
        ({"digit": np.array([0, 10])}, "digit goes from 0 to 10, expected 0 to 9"),
        ({"digit": np.array([-1, 0])}, "digit goes from -1 to 0"),
        ({"voice": np.array([0, 2])}, "voice goes from 0 to 2, expected 0 to 1"),
        ({"held_out": [2]}, "held_out names voices that are not there: expected indices below 2"),
        ({"held_out": ["two"]}, "held_out names voices that are not there"),
        ({"held_out": 1}, "'int' object is not iterable"),
        ({"rate": 16000}, "it has 16000 samples in a second, expected 8000"),
        ({"about": None}, "about is not in it"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, change, message):
    arrays, about = ({**part, **{name: change[name] for name in change if name in part}} for part in (SMALL, ABOUT))
    arrays, about = ({name: value for name, value in part.items() if value is not None} for part in (arrays, about))
    weights.save(path := tmp_path / "wrong.npz", arrays, about)
    with pytest.raises(ValueError, match=f"does not hold the spoken digits, or it was damaged: {message}"):
        spoken.load(path)


@pytest.mark.parametrize("size", [0, 100, 600_000, 1_300_000])
def test_a_file_cut_off_is_refused(tmp_path, size):
    path = tmp_path / "cut.npz"
    path.write_bytes(spoken.DATA.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"does not hold the spoken digits, or it was damaged: [^\n]+$"):
        spoken.load(path)


# companding


def test_companding_keeps_to_half_a_step():
    sound = np.concatenate([np.linspace(-1, 1, 100_001), np.geomspace(1e-6, 1, 1000)])
    codes = spoken.compress(sound)
    assert codes.dtype == np.uint8 and codes.min() == 1 and codes.max() == 255
    error = abs(spoken.expand(codes) - sound)
    half = math.log(256) / 254  # of ln(1 + 255 |x|); the curve bends, so the step is widest at its louder end
    assert (error <= (1 + 255 * abs(sound)) / 255 * math.expm1(half) + 1e-15).all()
    assert spoken.expand(codes)[sound == 0] == 0
    assert (np.diff(codes[:100_001].astype(int)) >= 0).all()


def test_codes_survive_the_round_trip():
    codes = np.arange(1, 256, dtype=np.uint8)
    sound = spoken.expand(codes)
    assert (spoken.compress(sound) == codes).all()
    assert (sound == -sound[::-1]).all() and sound[127] == 0 and sound[-1] == 1
    assert sound[127 + 64] == pytest.approx((256 ** (64 / 127) - 1) / 255, rel=1e-12)


def test_the_error_is_as_small_as_the_docstring_says(real):
    for softer, least in [(0.97, 36.5), (10**-1.5, 34.5)]:
        sound = softer * real.samples
        error = spoken.expand(spoken.compress(sound)) - sound
        assert 10 * math.log10((sound**2).mean() / (error**2).mean()) > least


@pytest.mark.parametrize("sound", [[0.0, 1.01], [math.nan], [-math.inf]])
def test_compress_refuses(sound):
    with pytest.raises(ValueError, match=r"sound must lie in \[-1, 1\]"):
        spoken.compress(np.array(sound))


# recordings


def test_place(real):
    chosen = np.array([3, 3, 77, 409, 0])
    kept = real.samples.copy()
    made = spoken.place(real, chosen, np.random.default_rng(0))
    assert made.sounds.shape == (5, 12_000) and made.sounds.dtype == np.float64
    assert made.starts.shape == made.stops.shape == (5,)
    assert (abs(made.sounds).max(axis=1) == 1).all()
    assert (made.stops - made.starts == np.diff(real.ends, prepend=0)[chosen]).all()
    assert made.starts.min() >= 0 and made.stops.max() <= 12_000
    assert (made.sounds[0] != made.sounds[1]).any() and made.starts[0] != made.starts[1]
    assert (real.samples == kept).all() and chosen.tolist() == [3, 3, 77, 409, 0]

    again = spoken.place(real, chosen, np.random.default_rng(0))
    other = spoken.place(real, chosen, np.random.default_rng(1))
    assert all((one == two).all() for one, two in zip(made, again, strict=True))
    assert (made.sounds != other.sounds).any() and (made.starts != other.starts).any()


def test_the_word_is_there_as_loud_as_promised(real):
    chosen = np.arange(0, 400, 5)
    made = spoken.place(real, chosen, np.random.default_rng(0), snr=(6.0, 6.0), seconds=1.25)
    assert made.sounds.shape == (80, 10_000)
    for i, start, stop, sound in zip(chosen, made.starts, made.stops, made.sounds, strict=True):
        word = spoken.clip(real, i)
        scale = _scale(sound, word, start)
        noise = sound.copy()
        noise[start:stop] -= scale * word
        ratio = scale**2 * (word**2).mean() / (noise**2).mean()
        assert 10 * math.log10(ratio) == pytest.approx(6.0, abs=0.6)  # `scale` is estimated


def _scale(sound, word, start):
    """How much of the word is in the sound at that place: least squares on the differences, where noise is weak."""
    there, clean = np.diff(sound[start : start + len(word)]), np.diff(word)
    return there @ clean / (clean @ clean)


def test_ratios_and_places_spread_over_their_ranges(real):
    chosen = np.full(600, 5)
    length = real.ends[5] - real.ends[4]
    made = spoken.place(real, chosen, np.random.default_rng(0), seconds=0.8, snr=(-5.0, 25.0))
    latest = 6400 - length
    assert made.starts.min() < 0.02 * latest and made.starts.max() > 0.98 * latest
    assert abs(made.starts.mean() / latest - 0.5) < 0.05
    word, ratios = spoken.clip(real, 5), []
    for sound, start in zip(made.sounds, made.starts, strict=True):
        scale = _scale(sound, word, start)
        rest = sound.copy()
        rest[start : start + length] -= scale * word
        ratios.append(10 * math.log10(scale**2 * (word**2).mean() / (rest**2).mean()))
    assert np.quantile(ratios, [0, 0.5, 1]) == pytest.approx([-5, 10, 25], abs=2.0)


def test_a_word_that_just_fits(real):
    longest = int(np.diff(real.ends, prepend=0).argmax())
    length = len(spoken.clip(real, longest))
    made = spoken.place(real, np.array([longest]), np.random.default_rng(0), seconds=length / RATE)
    assert made.starts == [0] and made.stops == [length] == [made.sounds.shape[1]]
    with pytest.raises(ValueError, match=r"a word lasts 0\.\d\d s, longer than the recording of 0\.5 s: raise seconds"):
        spoken.place(real, np.array([longest]), np.random.default_rng(0), seconds=0.5)


def test_no_recording_at_all(real):
    made = spoken.place(real, np.zeros(0, np.int64), np.random.default_rng(0))
    assert made.sounds.shape == (0, 12_000) and made.starts.shape == made.stops.shape == (0,)


@pytest.mark.parametrize("chosen", [[0.5], [True, False], [[1]], 3])
def test_place_takes_indices(real, chosen):
    with pytest.raises(TypeError, match=r"chosen must be indices of clips \(B,\), integers"):
        spoken.place(real, chosen, np.random.default_rng(0))


def test_pink_noise_has_the_same_power_in_every_octave():
    noise = spoken.pink(np.random.default_rng(0), 64, 16_000)
    assert noise.shape == (64, 16_000)
    power = (abs(np.fft.rfft(noise)) ** 2).mean(axis=0)
    f = np.fft.rfftfreq(16_000, 1 / RATE)
    octaves = [power[(f >= low) & (f < 2 * low)].sum() for low in (100, 200, 400, 800, 1600)]
    assert octaves == pytest.approx([np.mean(octaves)] * 5, rel=0.05)
    assert power[(f > 0) & (f < 50)].mean() == pytest.approx(power[f == 50][0], rel=0.3)  # flat, not infinite


# frames


def naive_log_mel(sound, rate, window, hop, bands, low, floor):
    """The formulas in plain loops: a DFT summed term by term, and triangles drawn point by point."""
    width, step = round(rate * window), round(rate * hop)
    size = 1
    while size < 2 * width:
        size *= 2

    def to_mel(f):
        return 2595 * math.log10(1 + f / 700)

    distance = (to_mel(rate / 2) - to_mel(low)) / (bands + 1)
    edges = [700 * (10 ** ((to_mel(low) + i * distance) / 2595) - 1) for i in range(bands + 2)]
    w = [math.sin(math.pi * n / width) ** 2 for n in range(width)]
    rows, begin = [], 0
    while begin + width <= len(sound):
        power = []
        for k in range(size // 2 + 1):
            total = sum(w[n] * sound[begin + n] * cmath.exp(-2j * math.pi * k * n / size) for n in range(width))
            power.append(abs(total) ** 2 / sum(x * x for x in w))
        row = []
        for left, peak, right in zip(edges, edges[1:], edges[2:], strict=False):
            heights = []
            for k in range(size // 2 + 1):
                f = k * rate / size
                rising, falling = (f - left) / (peak - left), (right - f) / (right - peak)
                heights.append(max(0.0, min(rising, falling)))
            row.append(math.log(floor + sum(h * p for h, p in zip(heights, power, strict=True)) / sum(heights)))
        rows.append(row)
        begin += step
    return np.array(rows)


def test_log_mel_is_its_formula():
    sounds = np.random.default_rng(0).uniform(-1, 1, size=(2, 3, 150))
    settings = {"rate": 1000, "window": 0.04, "hop": 0.03, "bands": 5, "low": 40.0, "floor": 1e-3}
    kept = sounds.copy()
    found = spoken.log_mel(sounds, **settings)
    assert found.shape == (2, 3, 4, 5)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(found[i], naive_log_mel(sounds[i], **settings), rtol=0, atol=1e-12)
    assert (sounds == kept).all()


def test_log_mel_of_a_recording(real):
    made = spoken.place(real, np.array([1, 2]), np.random.default_rng(0))
    found = spoken.log_mel(made.sounds)
    assert found.shape == (2, 74, 32) and found.dtype == np.float64
    made.sounds.flags.writeable = False
    assert (spoken.log_mel(made.sounds[::-1])[::-1] == found).all()


def test_levels():
    sound = np.random.default_rng(0).standard_normal(400_000)
    assert np.exp(spoken.log_mel(sound)).mean(axis=0) == pytest.approx(1.0, abs=0.05)  # white noise, every band
    louder = spoken.log_mel(math.sqrt(10) * sound) - spoken.log_mel(sound)
    assert louder == pytest.approx(math.log(10), abs=1e-3)
    assert spoken.log_mel(np.zeros(400)) == pytest.approx(math.log(1e-7))
    assert 10 * math.log10(math.exp(spoken.log_mel(np.zeros(400))[0, 0])) == pytest.approx(-70)


def test_mel_is_the_formula():
    assert spoken.mel(0) == 0 and spoken.mel(1000) == pytest.approx(1000, abs=0.02)
    assert spoken.mel(700) == pytest.approx(2595 * math.log10(2))
    f = np.linspace(0, 4000, 50)
    assert spoken.mel_inverse(spoken.mel(f)) == pytest.approx(f, abs=1e-9)


def test_filters():
    filters = spoken.mel_filters(32, 512)
    assert filters.shape == (32, 257) and (filters >= 0).all()
    assert filters.sum(axis=1) == pytest.approx(1)
    assert ((filters > 0).sum(axis=1) >= 2).all()
    f = np.arange(257) * RATE / 512
    assert not filters[:, f <= 60].any() and not filters[:, 256].any()
    middle = filters @ f
    assert (np.diff(middle) > 0).all() and (np.diff(np.diff(middle)[8:]) > 0).all()  # ever wider
    assert ((filters > 0).sum(axis=0) <= 2).all()  # at most two neighbours overlap


def test_a_tone_is_loudest_in_its_own_band():
    edges = spoken.mel_inverse(np.linspace(spoken.mel(60), spoken.mel(4000), 34))
    for band, f in enumerate(edges[1:-1]):
        assert (spoken.log_mel(sine(f, 0.2)).argmax(axis=-1) == band).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bands": 200}, r"band 7 of 200 holds none of the frequencies, 16 Hz apart: take fewer bands"),
        ({"window": 0.2}, r"sounds \(800,\) must hold a frame of 1600 samples \(0\.2 s\) along the last axis"),
        ({"hop": 0.0}, r"window=0\.025 and hop=0\.0 are seconds: at 8000 Hz they are 200 and 0 samples"),
    ],
)
def test_log_mel_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        spoken.log_mel(np.zeros(800), **settings)


def test_word_frames():
    found = spoken.word_frames([0, 100, 101, 0], [12_000, 101, 260, 100], 5)
    expected = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]  # middles: 100, 260, 420 ...
    assert found.dtype == bool and found.tolist() == np.array(expected, bool).tolist()
    assert spoken.word_frames([3], [9], 4, rate=10, window=0.4, hop=0.3).tolist() == [[False, True, True, False]]


def test_word_frames_are_where_the_energy_is(real):
    chosen = np.arange(len(real.ends))
    made = spoken.place(real, chosen, np.random.default_rng(0), snr=(30.0, 30.0))
    frames = spoken.log_mel(made.sounds)
    inside = spoken.word_frames(made.starts, made.stops, frames.shape[1])
    loud = np.exp(frames).mean(axis=-1)
    assert ((loud * inside).sum(axis=1) / loud.sum(axis=1)).min() > 0.95
    assert inside[chosen, loud.argmax(axis=1)].all()
    assert abs(inside.sum(axis=1) * 160 - (made.stops - made.starts)).max() <= 160  # a frame more or less
    quiet = np.where(inside, -np.inf, loud).max(axis=1)  # the loudest frame outside, at an edge of the word
    assert np.median(np.where(inside, loud, -np.inf).max(axis=1) / quiet) > 20


# the script that made the file


@pytest.mark.parametrize(("f", "gain"), [(100, 1), (1000, 1), (3500, 1), (4100, 0), (5000, 0), (9000, 0)])
def test_resampling_keeps_what_fits_and_folds_nothing_back(f, gain):
    made = make_spoken.resample(sine(f, 0.3, rate=22_050), 22_050, 8000)
    assert len(made) == 2400
    middle = slice(200, -200)
    assert abs(made[middle] - gain * sine(f, 0.3)[middle]).max() < 1e-3


def test_resampling_at_another_ratio():
    assert abs(make_spoken.resample(np.ones(3000), 16_000, 8000)[300:-300] - 1).max() < 1e-3


def test_trim():
    word = sine(500, 0.1)
    sound = np.concatenate([np.full(400, 1e-3), word, np.full(300, -1e-3)])
    assert len(make_spoken.trim(sound, 8000)) == pytest.approx(800, abs=40)
    assert len(make_spoken.trim(np.concatenate([0.05 * word, word]), 8000)) == pytest.approx(1600, abs=40)


def test_the_voices_of_the_script_are_those_of_the_file(real):
    names = [
        f"{accent}+{variant}, pitch {pitch}, speed {speed}" for accent, variant, pitch, speed in make_spoken.voices()
    ]
    assert tuple(names) == real.voices


def test_without_the_library_the_script_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SystemExit, match="pip install espeakng-loader"):
        make_spoken.main(["--output", str(tmp_path / "made.npz")])
    assert not list(tmp_path.iterdir())


def test_a_bad_file_never_takes_the_place_of_a_good_one(monkeypatch, tmp_path):
    path = tmp_path / "made.npz"
    monkeypatch.setattr(make_spoken, "build", lambda: (SMALL, ABOUT))
    make_spoken.main(["--output", str(path)])
    before = path.read_bytes()
    monkeypatch.setattr(make_spoken, "build", lambda: (SMALL | {"codes": np.zeros(2, np.uint8)}, ABOUT))
    with pytest.raises(ValueError, match="ends does not cut 2 samples"):
        make_spoken.main(["--output", str(path)])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_vendored_file_is_what_the_script_makes(tmp_path):
    """Where the same version is installed: every member byte for byte, and the file where zlib packs as it did then."""
    _, about = weights.load(spoken.DATA)
    try:
        version = make_spoken.metadata.version("espeakng-loader")
    except make_spoken.metadata.PackageNotFoundError:
        pytest.skip("espeakng-loader is not installed")
    if version != about["espeakng-loader"]:
        pytest.skip("another version of espeakng-loader made the file")
    made = tmp_path / "made.npz"
    command = [sys.executable, "-m", "minattn.data.make_spoken", "--output", str(made)]  # the library keeps state
    subprocess.run(command, check=True, capture_output=True)
    assert members(made) == members(spoken.DATA)
    weights.save(packed := tmp_path / "packed.npz", *weights.load(spoken.DATA))
    if packed.read_bytes() == spoken.DATA.read_bytes():
        assert made.read_bytes() == spoken.DATA.read_bytes()


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: (info.date_time, archive.read(info)) for info in archive.infolist()}
