// A program with a copy of stb of its own, which it includes before the library here and after it
// in after.cpp: all three copies decode the same picture.
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

#include <ddpm/ddpm.hpp>

std::vector<std::uint8_t> decode_after(const ddpm::io::Bytes& bytes);

int main() {
  ddpm::io::Bytes pixels(4 * 5 * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 4);
  const ddpm::io::Bytes bytes = ddpm::io::picture::encode_png(pixels, 4, 5, 3);
  int width = 0, height = 0, channels = 0;
  stbi_uc* own = stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width,
                                       &height, &channels, 3);
  const bool same = own && width == 5 && height == 4 &&
                    std::equal(pixels.begin(), pixels.end(), own) && STBI_VERSION == 1;
  stbi_image_free(own);
  return same && decode_after(bytes) == pixels &&
                 ddpm::io::decode_image(bytes, 3, "it").pixels == pixels
             ? 0
             : 1;
}
