"""The shading programs, in GLSL 3.3: one fragment program for each material.

Materials are separate programs, not branches: a software rasteriser runs both sides of a branch.
Vertex masks: 0 lips, 1 mouth cavity, 2 beard, 3 eye shadow, 4 blush, 5 ambient access,
6 scalp, 7 layer of a shell.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["BACKGROUND", "INDEX", "MATERIALS", "SHADOW", "material_source"]

VERTEX: Final = """#version 330
in vec3 in_point; in vec3 in_normal; in float in_lit;
in vec2 in_uv; in vec4 in_mask_a; in vec4 in_mask_b;
uniform mat4 clip;
out float lit; out vec3 point; out vec3 normal; out vec2 uv; out vec4 mask_a; out vec4 mask_b;
void main() {
  point = in_point; normal = in_normal; uv = vec2(in_uv.x, 1.0 - in_uv.y);
  mask_a = in_mask_a; mask_b = in_mask_b; lit = in_lit;
  gl_Position = clip * vec4(in_point, 1.0);
}"""

_HEAD: Final = """#version 330
in float lit; in vec3 point; in vec3 normal; in vec2 uv; in vec4 mask_a; in vec4 mask_b;
out vec4 colour;
uniform sampler2D albedo_map; uniform sampler2D alpha_map; uniform sampler2D noise_map;
uniform vec3 key_direction; uniform vec3 key;
uniform vec3 fill_directions[2]; uniform vec3 fills[2]; uniform vec3 sky; uniform vec3 ground;
uniform vec3 eye; uniform vec3 tint; uniform vec4 hair_colour; uniform float seed;
uniform float oil;
uniform vec4 lipstick; uniform vec4 shadow_colour; uniform vec4 blush; uniform float lip_gloss;
uniform float stubble; uniform float freckles; uniform float bump;
uniform mat3x4 head_inverse; uniform vec3 mouth; uniform vec4 plain;
uniform float shell_density; uniform float shell_scale;

vec3 to_linear(vec3 c) { return c * (c * (c * 0.305306011 + 0.682171111) + 0.012522878); }
vec4 noise(vec2 p) { return texture(noise_map, p * (1.0 / 256.0)); }
vec3 ambient(vec3 n, float access) {
  vec3 e = mix(ground, sky, 0.5 + 0.5 * n.y);
  for (int i = 0; i < 2; i++) {
    float w = 0.5 + 0.5 * dot(n, fill_directions[i]);
    e += fills[i] * w * w;
  }
  return e * access;
}
float eighth(float x) { x *= x; x *= x; return x * x; }
vec3 surroundings(vec3 d) {
  vec3 c = mix(ground, sky, smoothstep(-0.6, 0.6, d.y));
  for (int i = 0; i < 2; i++) c += fills[i] * 2.0 * eighth(max(dot(d, fill_directions[i]), 0.0));
  return c;
}
float fifth(float x) { float y = x * x; return y * y * x; }
float lobe(vec3 n, vec3 v, vec3 l, float rough, float f0) {
  vec3 h = normalize(l + v); float nh = max(dot(n, h), 0.0), vh = max(dot(v, h), 0.0);
  float a2 = rough * rough; float d = nh * nh * (a2 - 1.0) + 1.0;
  float f = f0 + (1.0 - f0) * fifth(1.0 - vh);
  return max(dot(n, l), 0.0) * f * a2 / (d * d * 4.0);
}
vec3 perturb(vec3 n, float h, float amount) {
  vec3 dx = dFdx(point), dy = dFdy(point);
  vec3 r1 = cross(dy, n), r2 = cross(n, dx); float det = dot(dx, r1);
  vec3 g = sign(det) * (dFdx(h) * r1 + dFdy(h) * r2);
  vec3 r = abs(det) * n - amount * g; float l = length(r);
  return (l > 1e-9 && l < 1e9) ? r / l : n;
}
vec4 shown(vec3 c, float alpha) {
  c = max(c, vec3(0.0));
  vec3 x = max(c - 0.6, 0.0) * 2.5;  // a shoulder above 0.6, which ends at 1
  c = min(c, 0.6) + 0.4 * x / (1.0 + x);
  vec3 s = sqrt(c), q = sqrt(s);  // sRGB without a power, within 1 / 255
  return vec4(0.585122381 * s + 0.783140355 * q - 0.368262736 * sqrt(q), alpha);
}
"""

_SKIN: Final = """
void main() {
  vec3 n = normalize(normal), v = normalize(eye - point);
  vec3 t = texture(albedo_map, uv).rgb; vec3 smooth_t = textureLod(albedo_map, uv, 3.5).rgb;
  float grey = dot(t - smooth_t, vec3(0.3, 0.6, 0.1));
  vec4 fine = noise(uv * 700.0 + seed), coarse = noise(uv * 40.0 + seed);
  vec3 wn = perturb(n, grey * 0.03 + (fine.x - 0.5) * 0.0012, bump);
  vec3 a = to_linear(mix(t, smooth_t, 0.25)) * tint;
  a *= 1.0 + 0.12 * (coarse.x - 0.5);
  float spots = fine.y * (0.5 + 0.5 * coarse.y);
  a *= mix(vec3(1.0), vec3(0.72, 0.58, 0.48), freckles * smoothstep(0.5, 0.7, spots));
  float lips = mask_a.x, cavity = mask_a.y, shade = mask_a.w;
  a = mix(a, a * shadow_colour.rgb, shadow_colour.a * shade);
  a = mix(a, a * blush.rgb, blush.a * mask_b.x);
  float hairs = mask_a.z * stubble * (0.55 + 0.75 * fine.z);
  a = mix(a, hair_colour.rgb * 0.6 + a * 0.15, clamp(hairs, 0.0, 0.85));
  float painted = lipstick.a * smoothstep(0.35, 0.7, lips);
  a = mix(a, lipstick.rgb * (0.6 + 0.8 * dot(t, vec3(0.4))), painted);
  a = mix(a, vec3(0.22, 0.045, 0.04), cavity);
  float behind = max(-dot(head_inverse[2], vec4(point, 1.0)) + mouth.z - 0.02, 0.0);
  float deep = 1.0 / (1.0 + cavity * behind * (5.0 + 20.0 * behind));
  float access = mask_b.y * deep;
  vec3 wrap = vec3(0.30, 0.11, 0.07);
  vec3 w = max((vec3(dot(wn, key_direction)) + wrap) / ((1.0 + wrap) * (1.0 + wrap)), vec3(0.0));
  vec3 e = key * w * (lit * deep) + ambient(wn, access);
  float rough = mix(0.5, mix(0.34, 0.2, lip_gloss), lips);
  float strength = oil * (0.7 + 0.6 * coarse.z) * (1.0 + lip_gloss * 2.0 * lips);
  vec3 shine = key * (lit * deep * (lobe(wn, v, key_direction, rough, 0.03)
     + 0.4 * lobe(wn, v, key_direction, 0.28, 0.03)));
  for (int i = 0; i < 2; i++)
    shine += fills[i] * (access * lobe(wn, v, fill_directions[i], rough, 0.03));
  float rim = 1.0 - max(dot(n, v), 0.0); rim *= rim;
  shine += rim * rim * 0.04 * access * mix(ground, sky, 0.5 + 0.5 * n.y);
  colour = shown(a * e + shine * strength, 1.0);
}"""

_EYES: Final = """
void main() {
  vec3 n = normalize(normal);
  vec3 t = texture(albedo_map, uv).rgb;
  vec3 a = to_linear(t); a = mix(a, vec3(dot(a, vec3(0.3, 0.6, 0.1))), 0.3) * tint;
  float s = lit;
  vec3 w = max((vec3(dot(n, key_direction)) + vec3(0.25, 0.18, 0.15)) / 1.5, vec3(0.0));
  colour = shown(a * (key * w * s + ambient(n, 0.25 + 0.6 * mask_b.y)), 1.0);
}"""

_CORNEA: Final = """
void main() {
  vec3 n = normalize(normal), v = normalize(eye - point); vec3 r = reflect(-v, n);
  float f = 0.03 + 0.97 * fifth(1.0 - max(dot(n, v), 0.0));
  float spot = smoothstep(0.965, 0.985, dot(r, key_direction)) * lit;
  vec3 c = key * spot * 9.0;
  for (int i = 0; i < 2; i++)
    c += fills[i] * 6.0 * smoothstep(0.93, 0.975, dot(r, fill_directions[i]));
  c += mix(ground, sky, smoothstep(-0.1, 0.5, r.y)) * 0.6;
  colour = vec4(pow(min(c * f, vec3(1.0)), vec3(1.0 / 1.4)), 0.0);
}"""

_MOUTH: Final = """
void main() {
  vec3 n = normalize(normal), v = normalize(eye - point);
  vec3 a = to_linear(texture(albedo_map, uv).rgb);
  a = mix(pow(a, vec3(0.8)) * vec3(1.2, 1.14, 1.04), a, plain.x) * tint;
  vec3 hp = vec4(point, 1.0) * head_inverse - mouth;
  float deep = max(-hp.z - 0.10, 0.0) + 0.6 * max(abs(hp.x) - 0.12, 0.0);
  float m = exp(-mix(5.0, 3.2, plain.x) * deep);
  float s = mix(lit, 1.0, 0.4);
  vec3 wrap = vec3(0.4);
  vec3 w = max((vec3(dot(n, key_direction)) + wrap) / ((1.0 + wrap) * (1.0 + wrap)), vec3(0.0));
  vec3 shine = key * s * lobe(n, v, key_direction, 0.3, 0.04);
  for (int i = 0; i < 2; i++) shine += fills[i] * lobe(n, v, fill_directions[i], 0.3, 0.04);
  colour = shown(a * (key * w * s * m + ambient(n, 0.75 * m)) + shine * m * m, 1.0);
}"""

_HAIR: Final = """
void main() {
  float alpha = texture(alpha_map, uv).r; if (alpha < 0.06) discard;
  vec3 n = normalize(normal), v = normalize(eye - point); if (dot(n, v) < 0.0) n = -n;
  float g = clamp(dot(texture(albedo_map, uv).rgb, vec3(0.333)) / plain.x, 0.05, 3.5);
  vec3 a = hair_colour.rgb * g;
  vec3 dx = dFdx(point), dy = dFdy(point); vec2 ux = dFdx(uv), uy = dFdy(uv);
  vec3 along = dx * uy.x - dy * ux.x; along -= n * dot(along, n); float l = length(along);
  along = (l > 1e-9 && l < 1e9) ? along / l : vec3(0, 1, 0);
  float nl = dot(n, key_direction);
  float th = dot(along, normalize(key_direction + v));
  float s1 = eighth(max(1.0 - th * th, 0.0)); s1 = eighth(s1);
  float s2 = max(1.0 - (th + 0.12) * (th + 0.12), 0.0); s2 = eighth(s2) * s2 * s2;
  vec3 shine = key * (lit * max(nl + 0.3, 0.0)) * (s1 * 0.06 + s2 * 0.36 * hair_colour.rgb);
  vec3 e = key * (max((nl + 0.35) / 1.82, 0.0) * lit) + ambient(n, 0.35 + 0.65 * mask_b.y);
  colour = shown(a * e + shine, alpha);
}"""

_CARD: Final = """
void main() {
  float alpha = texture(alpha_map, uv).r; if (alpha < 0.02) discard;
  alpha = sqrt(alpha) * mix(sqrt(alpha), 1.0, 0.4) * plain.a;
  vec3 n = normalize(normal), v = normalize(eye - point); if (dot(n, v) < 0.0) n = -n;
  vec3 e = key * max((dot(n, key_direction) + 0.3) / 1.69, 0.0) * lit + ambient(n, 0.7);
  colour = shown(plain.rgb * e, alpha);
}"""

# Garments have large triangles: their shadows are looked up for each pixel.
_CLOTH: Final = """
uniform sampler2DShadow shadow_map; uniform mat4 shadow_clip; uniform float softness;
float lit_here(vec3 n) {
  vec3 s = (shadow_clip * vec4(point + n * 0.03, 1.0)).xyz * 0.5 + 0.5;
  float sum = texture(shadow_map, vec3(s.xy, s.z - 0.002));
  for (int y = 0; y < 2; y++) for (int x = 0; x < 2; x++)
    sum += texture(shadow_map, vec3(s.xy + softness * (vec2(x, y) * 2.0 - 1.0), s.z - 0.002));
  return sum * 0.2;
}
void main() {
  vec3 n = normalize(normal);
  vec3 a = to_linear(texture(albedo_map, uv).rgb) * tint;
  float nl = max((dot(n, key_direction) + 0.1) / 1.21, 0.0);
  colour = shown(a * (key * (nl * lit_here(n)) + ambient(n, mask_b.y)), 1.0);
}"""

_PLAIN: Final = """
uniform float gloss;
void main() {
  vec3 n = normalize(normal), v = normalize(eye - point); if (dot(n, v) < 0.0) n = -n;
  float s = lit;
  vec3 e = key * max(dot(n, key_direction), 0.0) * s + ambient(n, 0.9);
  vec3 shine = key * s * lobe(n, v, key_direction, 0.3, 0.05) * gloss;
  shine += surroundings(reflect(-v, n)) * 0.06 * gloss;
  float grain = 1.0 + 0.25 * (noise(uv * 30.0 + seed).x - 0.5);
  colour = shown(plain.rgb * grain * e + shine, plain.a);
}"""

_LENS: Final = """
void main() {
  vec3 n = normalize(normal), v = normalize(eye - point); if (dot(n, v) < 0.0) n = -n;
  vec3 r = reflect(-v, n); float f = 0.04 + 0.5 * pow(1.0 - max(dot(n, v), 0.0), 4.0);
  vec3 c = surroundings(r) * f + key * smoothstep(0.97, 0.99, dot(r, key_direction)) * 1.5;
  float alpha = clamp(plain.a + dot(c, vec3(0.33)), 0.0, 1.0);
  colour = shown(plain.rgb * ambient(n, 1.0) * 0.3 + c, alpha);
}"""

# Texture coordinates run down the face along x: there the noise is stretched to hairs.
_SHELL: Final = """
void main() {
  float layer = mask_b.w;
  vec2 p = uv * shell_scale + seed;
  p.x += 2.0 * layer; p.y += 3.0 * layer * (noise(uv * 200.0).x - 0.5);
  float strands = noise(p * vec2(0.28, 1.0)).x * 0.6 + 0.4 * noise(p * vec2(0.6, 1.7) + 3.0).y;
  float patchy = noise(uv * 55.0 + seed).z;
  float cover = clamp(mask_a.z * 1.25, 0.0, 1.0) * shell_density * (0.75 + 0.5 * patchy);
  float need = 0.22 + 0.55 * layer;
  float alpha = smoothstep(need, need + 0.2, strands * (0.35 + 0.75 * cover));
  alpha *= smoothstep(0.05, 0.5, cover) * 0.85;
  if (alpha < 0.02) discard;
  vec3 n = normalize(normal), v = normalize(eye - point); if (dot(n, v) < 0.0) n = -n;
  vec3 a = hair_colour.rgb * (0.5 + 1.3 * layer) * (0.4 + 1.3 * strands);
  vec3 e = key * (max((dot(n, key_direction) + 0.35) / 1.82, 0.0) * lit)
    + ambient(n, 0.3 + 0.5 * mask_b.y);
  float shine = max(dot(n, normalize(key_direction + v)), 0.0); shine = eighth(shine);
  colour = shown(a * e + key * (lit * shine * 0.035 * strands * layer), alpha);
}"""

_STRAND: Final = """
void main() {
  vec3 n = normalize(normal), v = normalize(eye - point); if (dot(n, v) < 0.0) n = -n;
  vec3 e = key * 0.6 * lit + ambient(n, 0.8);
  colour = shown(hair_colour.rgb * (0.8 + 1.2 * mask_b.w) * e, plain.a * (1.0 - 0.7 * uv.y));
}"""

MATERIALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "skin": _SKIN, "eyes": _EYES, "cornea": _CORNEA, "mouth": _MOUTH, "hair": _HAIR,
        "card": _CARD, "cloth": _CLOTH, "plain": _PLAIN, "lens": _LENS, "shell": _SHELL,
        "strand": _STRAND,
    }
)  # fmt: skip


def material_source(name: str) -> tuple[str, str]:
    """Vertex and fragment source of a material."""
    return VERTEX, _HEAD + MATERIALS[name]


SHADOW: Final = (
    """#version 330
in vec3 in_point; uniform mat4 clip; void main() { gl_Position = clip * vec4(in_point, 1.0); }""",
    """#version 330
void main() {}""",
)

BACKGROUND: Final = (
    """#version 330
out vec2 uv;
void main() {
  vec2 p = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  uv = p * 0.5 + 0.5; gl_Position = vec4(p, 0.0, 1.0);
}""",
    """#version 330
in vec2 uv; uniform sampler2D picture; out vec4 colour;
void main() { colour = vec4(texture(picture, uv).rgb, 0.0); }""",
)

# Which triangle each pixel shows, counted from 1.
INDEX: Final = (
    """#version 330
in vec3 in_point; in vec2 in_uv; in vec4 in_mask_a; uniform mat4 clip; out vec2 uv; out float beard;
void main() {
  uv = vec2(in_uv.x, 1.0 - in_uv.y); beard = in_mask_a.z;
  gl_Position = clip * vec4(in_point, 1.0);
}""",
    """#version 330
in vec2 uv; in float beard; uniform sampler2D alpha_map; uniform int first; uniform float cut;
uniform float beard_cut;
out uint index;
void main() {
  if (cut > 0.0 && texture(alpha_map, uv).r < cut) discard;
  if (beard < beard_cut) discard;
  index = uint(first + gl_PrimitiveID + 1);
}""",
)
