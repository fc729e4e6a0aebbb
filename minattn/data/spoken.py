"""Sound -> digit: "zero" to "nine", spoken by a machine, somewhere in a noisy recording.

    a second and a half of noise with one word in it  ->  frames  ->  which digit?

The word lies at a random place and is short, most of the recording is noise, and nobody marks where it is. A
model that weighs the frames must find out by itself which of them matter; `word_frames` knows the place, so
how much of the attention lies on the word can be measured.

The speech is synthetic: eSpeak NG said every clip, no person did. Its voices differ in accent, in formants, in
pitch and in speed, and each says every digit once, always in the same way. A model that hears these digits
well has learned to hear this program, not people. Test voices are made of variants that training voices never
use: f2 f5 grandma linda Lee m2 m8 david miguel victor (`split`). Their accents do occur in training. `make_spoken`
made the file, `licenses/` says what is known about its licence.

Sound is float64 in [-1, 1], 8,000 samples in a second; times are in seconds, frequencies in Hz, powers mean
squares, signal to noise in dB.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minattn import weights

DATA = Path(__file__).with_name("spoken.npz")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000  # samples in a second: room for the three lowest formants, as on the telephone

MU = 255  # of the companding
WINDOW, HOP = 0.025, 0.020  # seconds: of one frame, and from one frame to the next
BANDS, LOW = 32, 60.0  # mel bands, and where the lowest begins, in Hz
FLOOR = 1e-7  # mean power: silence is log(1e-7), 70 dB under white noise of mean power 1


class Clips(NamedTuple):
    """Clean words, one behind the other; clip i is samples[ends[i - 1] : ends[i]], from 0 for the first."""

    samples: np.ndarray  # (samples,)  float64 in [-1, 1]
    ends: np.ndarray  # (clips,)  int64
    digit: np.ndarray  # (clips,)  int64, 0 to 9
    voice: np.ndarray  # (clips,)  int64, an index into voices
    voices: tuple[str, ...]  # accent+variant, pitch, speed
    held_out: tuple[int, ...]  # the voices for testing
    rate: int  # samples in a second
    about: str  # where the sounds come from


class Recordings(NamedTuple):
    """B recordings of the same length, and where in each the word begins and stops (not included)."""

    sounds: np.ndarray  # (B, samples)  float64 in [-1, 1]
    starts: np.ndarray  # (B,)  int64
    stops: np.ndarray  # (B,)  int64


# --------------------------------------------------------------------------------------------------- the file


def load(path=None):
    """Read the clips from `path`, by default the vendored file -> Clips.

    FileNotFoundError where there is no file, ValueError with one sentence where it is not such a file.
    """
    path = Path(path or DATA)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: the spoken digits come with the package, so install it again, "
            "or make the file with python -m minattn.data.make_spoken"
        )
    try:
        arrays, about = weights.load(path)
        codes, ends, digit, voice = (arrays[name] for name in ("codes", "ends", "digit", "voice"))
        _check(codes, ends, digit, voice, about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"{error.args[0]} is not in it" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} does not hold the spoken digits, or it was damaged: {cause}") from None
    integers = (array.astype(np.int64) for array in (ends, digit, voice))
    return Clips(expand(codes), *integers, tuple(about["voices"]), tuple(about["held_out"]), RATE, about["about"])


def _check(codes, ends, digit, voice, about):
    """What `load` relies on, so that no slice is empty and no index points to nothing."""
    if missing := {"about", "rate", "voices", "held_out"} - set(about):
        raise ValueError(f"{min(missing)} is not in it")
    if codes.dtype != np.uint8 or codes.ndim != 1:
        raise ValueError(f"codes is {codes.dtype} {codes.shape}, expected uint8 (samples,)")
    for name, array in {"ends": ends, "digit": digit, "voice": voice}.items():
        if array.dtype.kind not in "iu" or array.shape != (len(ends),):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected one integer for each clip")
    if not len(ends) or np.diff(ends, prepend=0).min() < 1 or ends[-1] != len(codes):
        raise ValueError(f"ends does not cut {len(codes)} samples into clips: it must rise and stop at the last")
    voices, held_out = about["voices"], about["held_out"]
    for name, array, count in [("digit", digit, 10), ("voice", voice, len(voices))]:
        if array.min() < 0 or array.max() >= count:
            raise ValueError(f"{name} goes from {array.min()} to {array.max()}, expected 0 to {count - 1}")
    if not all(isinstance(i, int) and 0 <= i < len(voices) for i in held_out):
        raise ValueError(f"held_out names voices that are not there: expected indices below {len(voices)}")
    if about["rate"] != RATE:
        raise ValueError(f"it has {about['rate']} samples in a second, expected {RATE}")


def compress(sound):
    """Sound in [-1, 1] -> codes 1 to 255, uint8, 128 for silence: fine steps for soft sounds, coarse for loud.

        F(x) = sign(x) ln(1 + 255 |x|) / ln 256        code = 128 + 127 F(x), rounded

    The mu-law curve that ITU-T G.711 approximates by straight lines; its codes are others. These words stand about
    37 dB above the error, and 35 dB when they are made 30 dB softer: 8 bits in equal steps would leave 11 dB of that.
    """
    if not np.abs(sound).max(initial=0.0) <= 1:  # NaN fails too
        raise ValueError("sound must lie in [-1, 1] to be compressed: divide it by its largest absolute value")
    curve = np.sign(sound) * np.log1p(MU * np.abs(sound)) / math.log1p(MU)
    return np.rint(128 + 127 * curve).astype(np.uint8)


def expand(codes):
    """Codes -> sound: the inverse of `compress`, to half a step."""
    curve = (np.asarray(codes, dtype=np.float64) - 128) / 127
    sound = np.sign(curve) * ((MU + 1.0) ** np.abs(curve) - 1) / MU
    return sound.clip(-1, 1)  # code 0, which `compress` never writes, lies a step below -1


def split(clips):
    """-> indices of the training clips and of the test clips: no voice, and no variant, is in both."""
    held_out = np.isin(clips.voice, clips.held_out)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def clip(clips, i):
    """The sound of clip i, (samples,)."""
    return clips.samples[clips.ends[i - 1] if i else 0 : clips.ends[i]]


# -------------------------------------------------------------------------------------------------- recordings


def place(clips, chosen, rng, *, seconds=1.5, snr=(0.0, 15.0)):
    """Each chosen clip at a random place in pink noise of its own -> Recordings, sounds (B, samples).

        sound = (word + noise) / max |word + noise|        mean(word^2) / mean(noise^2) = 10^(dB / 10)

    chosen (B,): indices of clips. Every place where the word fits is equally likely, and so is every ratio of
    word to noise in `snr` dB, which compares the word while it lasts to the noise of the whole recording. Pink
    noise has the same power in every octave, as much of the world's noise nearly has, so it is strongest
    where voices are. ValueError where a word is longer than `seconds`.
    """
    chosen = np.asarray(chosen)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise TypeError(f"chosen must be indices of clips (B,), integers, but {chosen.dtype} {chosen.shape} came")
    begins = np.concatenate([[0], clips.ends[:-1]])[chosen]
    lengths = clips.ends[chosen] - begins  # (B,)
    samples = round(seconds * clips.rate)
    if lengths.max(initial=0) > samples:
        longest = lengths.max() / clips.rate
        raise ValueError(f"a word lasts {longest:.2f} s, longer than the recording of {seconds} s: raise seconds")

    starts = rng.integers(0, samples - lengths + 1)  # (B,)
    ratio = 10 ** (rng.uniform(*snr, size=len(chosen)) / 10)  # (B,)
    sounds = pink(rng, len(chosen), samples, clips.rate)  # (B, samples)
    noise_power = (sounds**2).mean(axis=-1)  # (B,)
    for sound, start, begin, length, r, power in zip(sounds, starts, begins, lengths, ratio, noise_power, strict=True):
        word = clips.samples[begin : begin + length]
        sound *= math.sqrt((word @ word) / length / (r * power))
        sound[start : start + length] += word
    sounds /= np.abs(sounds).max(axis=-1, keepdims=True)
    return Recordings(sounds, starts, starts + lengths)


def pink(rng, B, samples, rate=RATE):
    """Pink noise (B, samples): white noise, its power at f Hz divided by f, and flat under 50 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal((B, samples)))  # (B, frequencies)
    f = np.fft.rfftfreq(samples, 1 / rate)  # (frequencies,)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(f, 50.0)), samples)


# ------------------------------------------------------------------------------------------------------ frames


def log_mel(sounds, *, rate=RATE, window=WINDOW, hop=HOP, bands=BANDS, low=LOW, floor=FLOOR):
    """Sounds (..., samples) -> log-mel spectra (..., T, bands), in nats: ln(floor + mean power in the band).

        power(f) = |sum_n w[n] x[n] exp(-2 pi i f n / rate)|^2 / sum_n w[n]^2

    Frames of `window` seconds begin every `hop` seconds, and only those that fit are taken: 74 in 1.5 s. w is the
    Hann window, and zeros behind it fill the frame to a power of two, at least twice as long, so that the
    narrowest bands have frequencies to average. White noise of mean power 1 has mean power 1 in every band, so
    about 0; add 10 dB to a sound, and a band well above the floor gains ln 10 = 2.3.

    S. B. Davis and P. Mermelstein, Comparison of Parametric Representations for Monosyllabic Word Recognition in
    Continuously Spoken Sentences, IEEE Transactions on Acoustics, Speech, and Signal Processing 28, 1980.
    """
    sounds = np.asarray(sounds)
    width, step = _frame(rate, window, hop)
    if sounds.shape[-1:] < (width,):
        raise ValueError(f"sounds {sounds.shape} must hold a frame of {width} samples ({window} s) along the last axis")
    size = 2 ** math.ceil(math.log2(2 * width))
    w = hann(width)  # (width,)
    frames = np.lib.stride_tricks.sliding_window_view(sounds, width, axis=-1)[..., ::step, :]  # (..., T, width)
    power = np.abs(np.fft.rfft(frames * w, size)) ** 2 / (w @ w)  # (..., T, frequencies)
    return np.log(floor + power @ mel_filters(bands, size, rate=rate, low=low).T)  # (..., T, bands)


def hann(width):
    """The Hann window (width,): half a cosine wave up and down, periodic, 0 at its first sample."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)


def mel(f):
    """Hz -> mel = 2595 log10(1 + f / 700): equal steps sound about equally far apart.

    D. O'Shaughnessy, Speech Communication: Human and Machine, Addison-Wesley 1987.
    """
    return 2595 * np.log10(1 + np.asarray(f) / 700)


def mel_inverse(mels):
    """mel -> Hz."""
    return 700 * (10 ** (np.asarray(mels) / 2595) - 1)


def mel_filters(bands=BANDS, size=512, *, rate=RATE, low=LOW):
    """(bands, frequencies): triangles over the size // 2 + 1 frequencies of an FFT, each with the sum 1.

    A triangle begins at the peak of the one below it and ends at the peak of the one above it; the peaks, from
    `low` to rate / 2, are equally far apart in mel.
    """
    edges = mel_inverse(np.linspace(mel(low), mel(rate / 2), bands + 2))  # (bands + 2,)
    left, peak, right = (edges[i : i + bands, np.newaxis] for i in range(3))  # (bands, 1) each
    f = np.fft.rfftfreq(size, 1 / rate)  # (frequencies,)
    triangles = np.minimum((f - left) / (peak - left), (right - f) / (right - peak)).clip(0)  # (bands, frequencies)
    total = triangles.sum(axis=1, keepdims=True)
    if not total.all():
        empty = int(np.flatnonzero(total[:, 0] == 0)[0])
        raise ValueError(
            f"band {empty} of {bands} holds none of the frequencies, {rate / size:.0f} Hz apart: take fewer bands, "
            "or a longer window"
        )
    return triangles / total


def word_frames(starts, stops, T, *, rate=RATE, window=WINDOW, hop=HOP):
    """Which frames of `log_mel` hold the word -> bool (B, T): those whose middle lies in start <= sample < stop."""
    width, step = _frame(rate, window, hop)
    middle = step * np.arange(T) + width / 2  # (T,)
    starts, stops = (np.asarray(edge)[..., np.newaxis] for edge in (starts, stops))  # (B, 1) each
    return (starts <= middle) & (middle < stops)  # (B, T)


def _frame(rate, window, hop):
    """Seconds -> whole samples."""
    width, step = round(rate * window), round(rate * hop)
    if width < 2 or step < 1:
        raise ValueError(f"window={window} and hop={hop} are seconds: at {rate} Hz they are {width} and {step} samples")
    return width, step
