"""What the machines see of the tissues of the chest: X-rays, γ-rays, MRI, ultrasound and a tracer, one row a tissue.

Values are typical ones, right in order of magnitude, except where a source is named. They are the same for every
patient; only Hounsfield units differ from patient to patient, in `chest`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ..errors import check_choice
from ..volume import Volume
from ._ct import CHEST_TISSUES

CT_KEV = 70.0  # photons of a tube at 120 kV are attenuated about as those of this energy

# Mass attenuation coefficients in cm²/g of water and of cortical bone (ICRU-44). From J. H. Hubbell, S. M. Seltzer,
# Tables of X-Ray Mass Attenuation Coefficients, NIST Standard Reference Database 126.
ENERGIES_KEV = (40, 50, 60, 80, 100, 150, 200, 300, 400, 500, 600)
WATER_CM2_PER_G = (0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505, 0.1370, 0.1186, 0.1061, 0.09687, 0.08956)
BONE_CM2_PER_G = (0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480, 0.1309, 0.1113, 0.09908, 0.09022, 0.08332)
WATER_G_PER_CM3, BONE_G_PER_CM3 = 1.00, 1.92


@dataclass(frozen=True)
class Properties:
    """What the machines see of one tissue. All but `scatter` and `uptake` have units.

    Attributes
    ----------
    density : float
        In g/cm³.
    t1_ms, t2_ms : float
        Relaxation times in ms at 1.5 T. Muscle, heart, liver, blood, cartilage and spinal cord after G. J. Stanisz et
        al., Magn Reson Med 54 (2005) 507-512.
    proton_density : float
        Relative to water; what MRI cannot see, as protons bound in bone, is not counted.
    speed_of_sound : float
        In m/s.
    ultrasound_attenuation : float
        Of the amplitude on one way, in dB/(cm·MHz).
    scatter : float
        Strength of the small scatterers, as `medlearn.modalities.ultrasound` takes it.
    uptake : float
        Concentration of a sugar-like tracer (FDG) relative to its mean in the body.
    """

    density: float
    t1_ms: float
    t2_ms: float
    proton_density: float
    speed_of_sound: float
    ultrasound_attenuation: float
    scatter: float
    uptake: float


#: Properties of the tissues of the chest, by the names of `CHEST_TISSUES`.
CHEST_PROPERTIES: Mapping[str, Properties] = MappingProxyType(
    {  #                      g/cm³   T1    T2    PD   m/s   dB/(cm·MHz)  scatter  uptake
        "air": Properties(0.0012, 1, 1, 0.0, 343, 12.0, 0.0, 0.0),
        "table": Properties(0.85, 1, 1, 0.0, 2000, 5.0, 0.001, 0.0),
        "skin": Properties(1.09, 800, 35, 0.70, 1600, 2.0, 0.020, 0.5),
        "fat": Properties(0.93, 300, 75, 0.90, 1450, 0.6, 0.006, 0.3),
        "muscle": Properties(1.05, 1008, 44, 0.80, 1580, 1.0, 0.012, 0.7),
        "breast": Properties(1.02, 1250, 55, 0.75, 1520, 0.8, 0.012, 0.8),
        "cortical_bone": Properties(1.60, 900, 1, 0.10, 3200, 10.0, 0.020, 0.4),
        "marrow": Properties(1.12, 550, 50, 0.75, 1700, 5.0, 0.010, 1.2),
        "cartilage": Properties(1.10, 1024, 30, 0.75, 1660, 2.5, 0.006, 0.4),
        "disk": Properties(1.09, 1000, 80, 0.80, 1600, 1.5, 0.005, 0.4),
        "spinal_canal": Properties(1.03, 1500, 150, 0.90, 1530, 0.2, 0.002, 1.5),  # the cord and the fluid about it
        "lung": Properties(0.16, 1200, 40, 0.20, 650, 30.0, 0.050, 0.5),
        "airway": Properties(0.0012, 1, 1, 0.0, 343, 12.0, 0.0, 0.0),
        "airway_wall": Properties(1.06, 1000, 45, 0.80, 1580, 1.0, 0.006, 0.9),
        "pulmonary_vessel": Properties(1.06, 1441, 290, 0.90, 1575, 0.2, 0.0005, 1.6),
        "heart_muscle": Properties(1.05, 1030, 40, 0.80, 1570, 0.6, 0.012, 4.0),
        "heart_blood": Properties(1.06, 1441, 290, 0.90, 1575, 0.2, 0.0005, 1.6),
        "aorta": Properties(1.06, 1441, 290, 0.90, 1575, 0.2, 0.0005, 1.6),
        "vein": Properties(1.06, 1441, 290, 0.90, 1575, 0.2, 0.0005, 1.6),
        "esophagus": Properties(1.04, 1000, 45, 0.80, 1560, 0.8, 0.006, 1.3),
        "liver": Properties(1.06, 576, 46, 0.80, 1590, 0.5, 0.010, 2.2),
        "spleen": Properties(1.05, 1050, 79, 0.85, 1570, 0.4, 0.007, 1.8),
        "stomach": Properties(1.03, 1200, 80, 0.90, 1540, 0.4, 0.005, 1.5),
        "stomach_gas": Properties(0.0012, 1, 1, 0.0, 343, 12.0, 0.0, 0.0),
        "solid_nodule": Properties(1.05, 1100, 70, 0.80, 1560, 0.8, 0.004, 6.0),
        "ground_glass": Properties(0.42, 1200, 50, 0.40, 700, 20.0, 0.050, 1.5),
    }
)


def tissue_map(anatomy: Volume, name: str, *, energy_kev: float | None = None) -> Volume:
    """What one machine measures of a chest: a property of the tissue in each voxel.

    Parameters
    ----------
    anatomy : Volume
        Label map of `chest_anatomy`, any crop or slice of it included.
    name : str
        - ``"density"`` in g/cm³,
        - ``"attenuation"`` of X-rays and γ-rays in 1/mm at `energy_kev`,
        - ``"t1_ms"``, ``"t2_ms"`` at 1.5 T and ``"proton_density"`` relative to water,
        - ``"speed_of_sound"`` in m/s, ``"impedance"`` in MRayl (density times speed), ``"ultrasound_attenuation"`` in
          dB/(cm·MHz), ``"scatter"`` without unit,
        - ``"uptake"`` of an FDG-like tracer relative to its mean in the body.
    energy_kev : float, optional
        Energy of the photons, 40 to 600 keV; by default 70 keV, to which Hounsfield units belong. Technetium-99m
        gives 140 keV, positrons 511 keV. Only for the attenuation.

    Returns
    -------
    Volume
        float32, on the same grid.

    Raises
    ------
    ValueError
        If the name is unknown, `energy_kev` is out of range or does not belong to it, or `anatomy` has labels that are
        not those of the chest.

    Notes
    -----
    Values are typical ones, right in order of magnitude. For the attenuation a tissue is taken as water and cortical
    bone, mixed such that its Hounsfield units at 70 keV are those of `CHEST_TISSUES`; the coefficients of both are
    those of NIST, interpolated on a double logarithmic scale. So fat is thin water: that real fat loses contrast to
    water at high energies is not modeled.

    Examples
    --------
    >>> from medlearn.phantom import chest_anatomy
    >>> anatomy = chest_anatomy(0, shape=(8, 32, 32), spacing=(40, 12, 12))
    >>> float(tissue_map(anatomy, "uptake").array.max())  # a nodule
    6.0
    """
    check_choice("name", name, PROPERTY_NAMES)
    if energy_kev is not None and name != "attenuation":
        raise ValueError(f"energy_kev belongs to the attenuation; leave it out for {name!r}")
    by_label = _column(name, CT_KEV if energy_kev is None else energy_kev)
    labels = anatomy.array
    if labels.dtype.kind not in "ui" or (labels.size and not 0 <= labels.min() <= labels.max() < len(by_label)):
        raise ValueError(
            f"anatomy must be a label map of the chest, integers from 0 to {len(by_label) - 1} as chest_anatomy makes "
            f"it; got {labels.dtype} from {labels.min()} to {labels.max()}"
        )
    return anatomy.map(lambda array: by_label[array])


PROPERTY_NAMES = ("attenuation", "impedance", *Properties.__dataclass_fields__)


def _column(name: str, energy_kev: float) -> np.ndarray:
    """One property of every tissue, by label, float32."""
    values = np.zeros(len(CHEST_TISSUES), np.float32)
    for tissue in CHEST_TISSUES.values():
        row = CHEST_PROPERTIES[tissue.name]
        if name == "attenuation":
            values[tissue.label] = _attenuation(tissue.hu, energy_kev)
        elif name == "impedance":
            values[tissue.label] = row.density * row.speed_of_sound / 1000  # 1 MRayl = 1e6 kg/(m² s)
        else:
            values[tissue.label] = getattr(row, name)
    return values


def _attenuation(hu: float, energy_kev: float) -> float:
    """Attenuation in 1/mm at an energy of a tissue with these Hounsfield units at 70 keV."""
    water, bone = (_mu(material, energy_kev) for material in ("water", "cortical_bone"))
    if hu <= 100:  # no bone in it: water, thinner or denser
        return (1 + hu / 1000) * water
    water_ct, bone_ct = (_mu(material, CT_KEV) for material in ("water", "cortical_bone"))
    share = hu / 1000 * water_ct / (bone_ct - water_ct)  # of the volume that is bone
    return (1 - share) * water + share * bone


def _mu(material: str, energy_kev: float) -> float:
    """Attenuation of water or cortical bone in 1/mm."""
    if not ENERGIES_KEV[0] <= energy_kev <= ENERGIES_KEV[-1]:
        raise ValueError(f"energy_kev must be {ENERGIES_KEV[0]} to {ENERGIES_KEV[-1]} keV; got {energy_kev!r}")
    cm2_per_g, density = {
        "water": (WATER_CM2_PER_G, WATER_G_PER_CM3),
        "cortical_bone": (BONE_CM2_PER_G, BONE_G_PER_CM3),
    }[material]
    log_mu = np.interp(math.log(energy_kev), np.log(ENERGIES_KEV), np.log(cm2_per_g))
    return 0.1 * density * math.exp(log_mu)
