"""Phone names of the flite and festival voices -> IPA.

A name that its table does not list is IPA already. Digits mark stress in some sets.
"""

from __future__ import annotations

from typing import Final

_TABLES: Final[dict[str, str]] = {
    "english": (
        "aa=ɑ ae=æ ah=ʌ ao=ɔ aw=aʊ ax=ə axr=ɚ ay=aɪ ch=tʃ dh=ð dx=ɾ eh=ɛ el=əl em=əm en=ən er=ɝ "
        "ey=eɪ hh=h hv=h ih=ɪ iy=i jh=dʒ ng=ŋ nx=n ow=oʊ oy=ɔɪ r=ɹ sh=ʃ th=θ uh=ʊ uw=u y=j zh=ʒ"
    ),
    "italian": "E=ɛ O=ɔ S=ʃ Z=ʒ tS=tʃ dZ=dʒ J=ɲ L=ʎ ng=ŋ nf=ɱ",
    "catalan": "ax=ə E=ɛ O=ɔ S=ʃ Z=ʒ J=ɲ L=ʎ rr=r",
    "czech": (
        "a:=a e:=e i:=i o:=o u:=u c=ts c~=tʃ ch=x d~=dʲ dz~=dʒ h=ɦ n*=ŋ n~=ɲ r~=r r~*=r s~=ʃ "
        "t~=tʲ z~=ʒ"
    ),
    "finnish": "@=æ 7=ø &=ə N=ŋ T=θ D=ð S=ʃ Z=ʒ L=l",
    "russian": (
        "ii=ˈi yy=ˈɨ uu=ˈu ee=ˈe oo=ˈo aa=ˈa a=ɐ y=ɨ ae=ə ay=ə ur=ʊ pp=p bb=b tt=tʲ dd=dʲ kk=k "
        "gg=g c=ts ch=tɕ ff=f vv=v ss=sʲ zz=zʲ sh=ʃ sch=ɕ zh=ʒ h=x hh=x mm=m nn=ɲ ll=lʲ rr=rʲ"
    ),
    "hindi": (
        "aa=a a=ə ih=ɪ iy=i uh=ʊ uw=u eh=e ee=e ay=aɪ oh=o oo=o aw=ɔ ch=tʃ T=ʈ D=ɖ N=ɳ th=t dh=d "
        "y=j L=ɭ R=ɽ sh=ʃ j=dʒ ksh=kʂ sri=ʃr kh=k gh=g td=t tth=t ddh=d bh=b zh=ʒ @=ə w=ʋ x="
    ),
}
_SILENCES: Final = frozenset({"pau", "#", "##", "_", "h#", "brth", "ssil", "B_10", "B_20", "B_30"})
_MAPS: Final = {
    name: dict(pair.split("=") for pair in table.split()) for name, table in _TABLES.items()
}
PHONE_SETS: Final = tuple(_TABLES)


def to_ipa(name: str, phone_set: str) -> str:
    """IPA of a phone, "" for silence.

    Args:
        name: As the voice calls it.
        phone_set: One of `PHONE_SETS`.
    """
    if name in _SILENCES:
        return ""
    table = _MAPS[phone_set]
    if name in table:
        return table[name]
    base = name.rstrip("0123456789").removesuffix(":")
    stress = "ˈ" if name.endswith("1") else ""
    return stress + table.get(base, base)
