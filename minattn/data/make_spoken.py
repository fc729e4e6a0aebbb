"""Make `spoken.npz`: eSpeak NG says "zero" to "nine" in many voices.

    pip install espeakng-loader
    python -m minattn.data.make_spoken [--output PATH]

1. Voices. An accent of English, a variant (formants, roughness, intonation), a pitch and a speed. Left out were
   variants that whisper, that clip words short, whose spectra are nearly those of another in the list, or whose digits
   lie nearer to other digits of the other voices.
2. Sound. The shared library of the package is asked, through ctypes, for the samples of each word.
3. Clips. 22,050 -> 8,000 samples in a second behind a low-pass filter, silence cut off at both ends, the loudest sample
   set to 1, and companded to 8 bits (`spoken.compress`).

The library carries its state from word to word, so the words are always said in the same order by a fresh process.
The same version of the package on the same kind of machine then makes the same clips, and the same zlib the same bytes.
"""

import argparse
import ctypes
import math
import os
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from minattn import weights
from minattn.data.spoken import DATA, RATE, WORDS, compress, load

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-us-nyc", "en-gb-x-gbcwmd")
PITCHES = (50, 35, 60, 42, 68)  # eSpeak's scale, 0 to 99, 50 being the variant's own pitch
SPEEDS = (175, 145, 160)  # words in a minute; the counts of the three share no divisor, so voices mix them
TRAIN = (
    "f1 f3 f4 aunty belinda Annie steph Alex Andy Denis Gene Michael Nguyen Reed Tweaky announcer boris ed edward "
    "iven3 m1 m3 m4 m5 max norbert pablo paul robert RicishayMax Storm"
).split()
HELD_OUT = "f2 f5 grandma linda Lee m2 m8 david miguel victor".split()

SYNCHRONOUS, DO_NOT_EXIT = 2, 0x8000  # of the library: return when all is said; report a missing file
SPEED, VOLUME, PITCH = 1, 2, 3
QUIET = 30  # of 100, so that no voice is clipped
SEED = 1  # of the library's noise

PASS, STOP = 3600.0, 4000.0  # Hz: what is kept, and what must be gone at 8,000 samples in a second
SILENCE = -40.0  # dB under the loudest 5 ms of the word
ABOUT = "Synthetic speech: eSpeak NG {espeak} (package espeakng-loader {package}) said these words, no person did."


def voices():
    """-> [(accent, variant, pitch, speed)], the held-out ones last."""
    return [
        (ACCENTS[i % len(ACCENTS)], variant, PITCHES[i % len(PITCHES)], SPEEDS[i % len(SPEEDS)])
        for i, variant in enumerate([*TRAIN, *HELD_OUT])
    ]


# ---------------------------------------------------------------------------------------------------- the sound


def speaker():
    """-> say(word, accent, variant, pitch, speed) -> int16 samples; the rate in Hz; the version of eSpeak NG."""
    try:
        import espeakng_loader
    except ImportError:
        sys.exit("The voices come from the package espeakng-loader, which is not here: pip install espeakng-loader")
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Info.restype = ctypes.c_char_p
    heard = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def hear(samples, count, events):
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    rate = library.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(espeakng_loader.get_data_path()), DO_NOT_EXIT)
    if rate < 1:
        sys.exit(f"eSpeak NG did not start (error {rate}): is the package espeakng-loader whole?")
    library.espeak_SetSynthCallback(hear)

    def say(word, accent, variant, pitch, speed):
        heard.clear()
        library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
        if library.espeak_SetVoiceByName(f"{accent}+{variant}".encode()):
            sys.exit(f"eSpeak NG has no voice {accent}+{variant}: another version of espeakng-loader?")
        for parameter, value in {SPEED: speed, VOLUME: QUIET, PITCH: pitch}.items():
            library.espeak_SetParameter(parameter, value, 0)
        text = word.encode() + b"\0"
        library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, 1, None, None)  # all of it, as UTF-8
        return np.concatenate(heard or [np.zeros(0, np.int16)])

    say.callback = hear  # lives as long as `say`: the library keeps only its address
    return say, rate, library.espeak_Info(None).decode()


def resample(sound, source, target):
    """Sound at `source` Hz -> at `target` Hz: y(t) = sum_k x[k] h(t - k), h a sinc under a Blackman window.

    h passes frequencies up to PASS and stops them from STOP on, by 74 dB, so nothing is folded back.
    """
    up, down = target // math.gcd(source, target), source // math.gcd(source, target)
    cut = (PASS + STOP) / source  # twice the middle of the slope, in cycles per sample: the gain of the sinc
    half = round(5.5 / 2 * source / (STOP - PASS))  # a Blackman window of N samples has a slope of 5.5 / N
    near = np.arange(1 - half, half + 1)  # (2 half,)  samples on both sides of t
    d = (down * np.arange(up) % up / up)[:, np.newaxis] - near  # (up, 2 half)  t lies between samples in `up` ways
    window = 0.42 + 0.5 * np.cos(np.pi * d / half) + 0.08 * np.cos(2 * np.pi * d / half)
    h = cut * np.sinc(cut * d) * window  # (up, 2 half)

    n = np.arange(len(sound) * up // down)  # (samples at the target,)
    padded = np.pad(sound.astype(np.float64), half)
    return (padded[(n * down // up)[:, np.newaxis] + near + half] * h[n % up]).sum(axis=1)


def trim(sound, rate):
    """Without the beginning and the end in which the power of 5 ms stays under SILENCE."""
    width = round(0.005 * rate)
    power = np.convolve(sound**2, np.ones(width) / width, mode="same")
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE / 10))
    return sound[loud[0] : loud[-1] + 1]


def build():
    """-> arrays and about, as `weights.save` takes them."""
    say, rate, espeak = speaker()
    chosen, codes, digits = voices(), [], []
    for voice in chosen:
        for word in WORDS:
            sound = say(word, *voice)
            if not sound.any():
                sys.exit(f"eSpeak NG said nothing for {word!r} in the voice {voice}")
            sound = trim(resample(sound - sound.mean(), rate, RATE), RATE)
            codes.append(compress(sound / np.abs(sound).max()))
            digits.append(WORDS.index(word))
    arrays = {
        "codes": np.concatenate(codes),
        "ends": np.cumsum([len(code) for code in codes], dtype=np.int32),
        "digit": np.array(digits, dtype=np.uint8),
        "voice": np.repeat(np.arange(len(chosen), dtype=np.uint8), len(WORDS)),
    }
    package = metadata.version("espeakng-loader")
    about = {
        "about": ABOUT.format(espeak=espeak, package=package),
        "espeakng-loader": package,
        "rate": RATE,
        "voices": [f"{accent}+{variant}, pitch {pitch}, speed {speed}" for accent, variant, pitch, speed in chosen],
        "held_out": list(range(len(TRAIN), len(chosen))),
    }
    return arrays, about


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m minattn.data.make_spoken", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=DATA, help="the file to write (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if not arguments.output.parent.is_dir():
        parser.error(f"there is no folder {arguments.output.parent} to write {arguments.output.name} to")
    arrays, about = build()

    def write(partial):
        weights.save(partial, arrays, about)
        load(partial)  # what cannot be read again never takes the place of what was there

    weights.replace(arguments.output, write)
    seconds = np.diff(arrays["ends"], prepend=0) / RATE
    print(about["about"])
    print(
        f"{arguments.output}: {arguments.output.stat().st_size:,} bytes, {len(seconds)} clips of {seconds.min():.2f} "
        f"to {seconds.max():.2f} s, {len(TRAIN)} voices for training and {len(HELD_OUT)} held out"
    )


if __name__ == "__main__":
    main()
