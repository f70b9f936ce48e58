from ._areas import (
    LANGUAGE_AREAS as LANGUAGE_AREAS,
    Area as Area,
)
from ._cohort import (
    Cohort as Cohort,
    simulate_cohort as simulate_cohort,
    simulate_participant as simulate_participant,
)
from ._cortex import (
    template_source_space as template_source_space,
    template_sphere as template_sphere,
    template_trans as template_trans,
)
from ._forward import (
    ARRAYS as ARRAYS,
    Head as Head,
    lead_field as lead_field,
    make_array_info as make_array_info,
)
from ._naturalistic import (
    NaturalisticExperiment as NaturalisticExperiment,
    simulate_naturalistic as simulate_naturalistic,
)
from ._participant import (
    MigraineEffects as MigraineEffects,
    Participant as Participant,
)
from ._rest import (
    RestExperiment as RestExperiment,
    simulate_rest as simulate_rest,
)
from ._stimuli import (
    StimulusResponses as StimulusResponses,
    simulate_stimuli as simulate_stimuli,
)
