"""What a person is like, inferred by a network that saw simulated people.

`_bank` precomputes fields of sources of many heads in many arrays, `_simulator` draws
whole people from them, `_statistics` turns recordings into what the encoder reads,
`_encoder` infers a person's parameters (`_parameters`), `_training` trains it, and
`_reading` takes it to windows of real recordings. It is
not part of the package yet: see README.md in this folder.
"""

from ._encoder import EncoderConfig as EncoderConfig
from ._encoder import Inputs as Inputs
from ._encoder import ParticipantEncoder as ParticipantEncoder
from ._parameters import NAMES as NAMES
from ._parameters import PARAMETERS as PARAMETERS
from ._reading import PersonReader as PersonReader
from ._reading import StateWindows as StateWindows
from ._reading import load_reader as load_reader
from ._reading import save_reader as save_reader
from ._statistics import PersonStatistics as PersonStatistics
from ._statistics import Statistics as Statistics
